"""The proxy agent on a real machine: Debian's HAProxy unit, systemd's timers."""

from __future__ import annotations

import base64
import json
import shlex
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
import requests

from agent.protocol import Verb
from bluegreen.agent_bundle import AgentBundle, agent_bundle, memory_command, memory_input
from bluegreen.color import Color
from bluegreen.fleet import host_keys as hostkey
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.haproxy_config import Server
from sandbox import Machine, Sandbox
from tests.haproxy_values import rendered
from tests.sandbox.local_applications import ADDRESSES, APPLICATIONS, REVISIONS
from tests.started import started
from tests.unit.local_haproxy import edited_bundle
from tests.waiting import until

pytestmark = pytest.mark.sandbox

INSTALLED = agent_bundle().path
BOOT_UNIT = "/etc/systemd/system/bluegreen-boot.service"
STOPPED = """
python3 %s switch - </run/request >/run/answer 2>&1 &
until grep -q 'live green' /etc/haproxy/traffic.map; do sleep 0.02; done
kill -STOP $!
"""


def install_agent(machine: Machine, bundle: AgentBundle) -> dict[str, Any]:
    """Let a version of the agent install itself, and return its answer."""
    # As text: what is sent to a machine here is no bytes.
    machine.run(["tee", "/run/agent.base64"], text=base64.b64encode(memory_input({}, bundle)).decode())
    command = shlex.join(memory_command(Verb.INSTALL_AGENT, bundle))
    answer: dict[str, Any] = json.loads(machine.run(f"base64 -d /run/agent.base64 | {command}").stdout)
    return answer


class Proxy:
    """A proxy, and the run that holds its lock."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.token: int = self.ok("lock", owner="deploy", run_id="run-1", ref="v1")["token"]

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call the agent and return its answer."""
        done = self.machine.run(["python3", INSTALLED, verb, "-"], text=json.dumps(request), check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def ok(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call the agent and demand that it agrees."""
        answer = self.call(verb, **request)
        assert answer["ok"], answer
        return answer

    def status(self) -> ProxyStatus:
        """What the agent says."""
        done = self.machine.run(["python3", INSTALLED, "status"])
        return ProxyStatus.parse(json.loads(done.stdout))

    def sync(self, **changes: Any) -> dict[str, Any]:
        """Install the fleet's configuration."""
        config = rendered(
            servers={
                color: [
                    Server(f"my-perl-app-{color}-{number}", IPv4Address(address), 8080, 8)
                    for number, address in enumerate(ADDRESSES[color], 1)
                ]
                for color in Color
            },
            **changes,
        )
        return self.ok("sync", token=self.token, config=config, initial={"live": None, "idle": "blue"})

    def switch(self, to: Color, confirm_within: float = 60) -> dict[str, Any]:
        """Move traffic."""
        return self.ok(
            "switch",
            token=self.token,
            to=to,
            revision=REVISIONS[to],
            started=started(REVISIONS[to]),
            confirm_within=confirm_within,
            min_servers=2,
            health_path="/health",
        )

    def confirm(self, color: Color) -> None:
        """Keep the switch."""
        self.ok("confirm", token=self.token, revision=REVISIONS[color])

    def answers(self) -> tuple[int, str | None]:
        """Status and color that a client gets."""
        session = requests.Session()
        session.trust_env = False
        # The head is enough; a body may never end.
        with session.get(f"http://{self.machine.address}/", timeout=5, stream=True) as response:
            return response.status_code, response.headers.get("X-Color")

    def timers(self) -> str:
        """Timers that could still revert something."""
        return self.machine.run("systemctl list-timers --no-legend 'bluegreen-revert-*'").stdout


@pytest.fixture(scope="module")
def machine(sandbox: Sandbox) -> Iterator[Machine]:
    """Return a proxy as provisioning makes it, with application servers behind it."""
    session = requests.Session()
    session.trust_env, session.verify = False, sandbox.ca_file
    session.headers["Authorization"] = f"Bearer {sandbox.token}"
    body = {
        "name": "agent-test-lb-1",
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "debian-12-x64",
        "user_data": render_user_data(app="my_perl_app", proxy=True, host_key=hostkey.generate()),
    }
    answer = session.post(f"{sandbox.api_url}/v2/droplets", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    try:
        until(lambda: bool(sandbox.machine("agent-test-lb-1").address), seconds=30)
        made = sandbox.machine("agent-test-lb-1")
        made.wait_ready()
        install_agent(made, agent_bundle())
        behind = [(str(color), REVISIONS[color], ADDRESSES[color]) for color in Color]
        made.run(["tee", "/run/applications.py"], text=APPLICATIONS % behind)
        made.run("systemd-run --unit=applications python3 /run/applications.py")
        until(lambda: made.run("curl -fs http://127.0.0.14:8080/", check=False).returncode == 0)
        yield made
    finally:
        session.delete(f"{sandbox.api_url}/v2/droplets/{answer.json()['droplet']['id']}", timeout=60)


@pytest.fixture(scope="module")
def fresh(machine: Machine) -> tuple[Proxy, dict[str, Any], str]:
    """Return the proxy, the first sync's answer, and the file that Debian had put there."""
    default = machine.run("cat /etc/haproxy/haproxy.cfg").stdout
    proxy = Proxy(machine)
    return proxy, proxy.sync(), default


@pytest.fixture
def blue_is_live(fresh: tuple[Proxy, dict[str, Any], str]) -> Proxy:
    """Return the proxy with blue live and confirmed."""
    proxy = fresh[0]
    proxy.machine.run("rm -f /run/sick-* /run/drips-*")
    proxy.sync()
    if proxy.status().pending:
        proxy.ok("revert", token=proxy.token)
    if proxy.status().live is not Color.BLUE:
        proxy.switch(Color.BLUE)
        proxy.confirm(Color.BLUE)
    return proxy


def test_the_first_sync_takes_over_from_debians_configuration(
    fresh: tuple[Proxy, dict[str, Any], str],
) -> None:
    proxy, answer, default = fresh
    assert (answer["changed"], answer["reloaded"]) == (True, True)
    assert proxy.answers() == (503, None)
    assert proxy.machine.run("cat /etc/haproxy/haproxy.cfg.*.bak").stdout == default
    assert proxy.machine.run("stat -c %a /etc/haproxy/haproxy.cfg").stdout == "600\n"
    status = proxy.status()
    assert (status.live, status.consistent, status.haproxy.running) == (None, True, True)


def test_a_switch_moves_traffic_and_a_revert_moves_it_back(blue_is_live: Proxy) -> None:
    assert blue_is_live.answers() == (200, "blue")
    blue_is_live.switch(Color.GREEN)
    assert blue_is_live.answers() == (200, "green")
    assert blue_is_live.ok("revert", token=blue_is_live.token)["reverted"]
    assert blue_is_live.answers() == (200, "blue")


def test_an_unconfirmed_switch_reverts_on_time_by_itself(blue_is_live: Proxy) -> None:
    moved = blue_is_live.switch(Color.GREEN, confirm_within=3)
    assert blue_is_live.answers() == (200, "green")
    until(lambda: blue_is_live.answers() == (200, "blue"))
    status = blue_is_live.status()
    assert status.last_revert is not None
    # Not early; the timer counts from before traffic moved.
    assert status.last_revert.at - moved["at"] > 2
    assert (status.live, status.consistent, status.pending) == (Color.BLUE, True, None)
    assert "not confirmed in time" in status.last_revert.reason


def test_a_confirmed_switch_has_no_timer_left(blue_is_live: Proxy) -> None:
    moved = blue_is_live.switch(Color.GREEN, confirm_within=3)
    assert "bluegreen-revert-" in blue_is_live.timers()
    blue_is_live.confirm(Color.GREEN)
    assert blue_is_live.timers() == ""
    while time.time() < moved["at"] + 4:
        assert blue_is_live.answers() == (200, "green")


@pytest.mark.parametrize("part", ["head", "body"])
def test_an_app_that_drips_through_haproxy_keeps_no_traffic_and_no_lock(
    blue_is_live: Proxy, part: str
) -> None:
    blue_is_live.machine.run(["tee", "/run/drips-green"], text=part)
    revision = REVISIONS[Color.GREEN]
    request = {"to": Color.GREEN, "revision": revision, "started": started(revision), "min_servers": 2}
    request |= {"confirm_within": 10, "health_path": "/health"}
    answer = blue_is_live.call("switch", token=blue_is_live.token, **request)
    if part == "head":
        assert answer["error"] == "not_moved"
        assert "live is blue" in answer["message"]
    else:
        # Its head is all that a switch waits for; nobody confirms it.
        assert answer["ok"]
    until(lambda: blue_is_live.answers() == (200, "blue"))
    until(lambda: blue_is_live.status().pending is None)
    blue_is_live.machine.run("rm /run/drips-green")
    blue_is_live.switch(Color.GREEN)
    assert blue_is_live.answers() == (200, "green")


def test_a_call_that_is_stopped_keeps_no_traffic_on_a_color_that_was_not_confirmed(
    blue_is_live: Proxy,
) -> None:
    machine = blue_is_live.machine
    machine.run(["tee", "/run/drips-green"], text="head")
    revision = REVISIONS[Color.GREEN]
    request = {"to": Color.GREEN, "revision": revision, "started": started(revision), "min_servers": 2}
    request |= {"confirm_within": 10, "health_path": "/health", "token": blue_is_live.token}
    machine.run(["tee", "/run/request"], text=json.dumps(request))
    # It is stopped as soon as traffic has moved, while it waits for an answer.
    machine.run(["tee", "/run/stopped"], text=STOPPED % INSTALLED)
    machine.run("sh /run/stopped")
    assert "live green" in machine.run("cat /etc/haproxy/traffic.map").stdout
    machine.run("rm /run/drips-green")
    until(lambda: blue_is_live.answers() == (200, "blue"))
    until(lambda: blue_is_live.status().pending is None)
    assert blue_is_live.status().consistent
    assert machine.run("pgrep -f '[/]agent-.*pyz'", check=False).stdout == ""
    blue_is_live.switch(Color.GREEN)


def test_a_version_whose_timer_is_armed_outlives_the_next_version(blue_is_live: Proxy) -> None:
    machine, before = blue_is_live.machine, edited_bundle("__init__.py", lambda text: text + "# before\n")
    install_agent(machine, before)
    revision = REVISIONS[Color.GREEN]
    request = {"to": Color.GREEN, "revision": revision, "started": started(revision), "min_servers": 2}
    request |= {"confirm_within": 8, "health_path": "/health", "token": blue_is_live.token}
    machine.run(["python3", before.path, "switch", "-"], text=json.dumps(request))
    assert f"ExecStart=/usr/bin/python3 {before.path} boot\n" in machine.run(f"cat {BOOT_UNIT}").stdout
    # Now nothing but the timer names it.
    machine.run(f"truncate -s 0 {BOOT_UNIT}")
    assert install_agent(machine, agent_bundle())["pruned"] == []
    until(lambda: blue_is_live.answers() == (200, "blue"))
    until(lambda: blue_is_live.status().pending is None)
    until(lambda: install_agent(machine, agent_bundle())["pruned"] == [before.name])

    blue_is_live.ok("lock", owner="deploy", run_id="run-1", ref="v1")
    assert f"ExecStart=/usr/bin/python3 {INSTALLED} boot\n" in machine.run(f"cat {BOOT_UNIT}").stdout
    assert machine.run("systemctl is-enabled bluegreen-boot").stdout == "enabled\n"


def test_a_revert_that_finds_the_old_color_sick_waits_until_it_is_well(blue_is_live: Proxy) -> None:
    blue_is_live.switch(Color.GREEN, confirm_within=2)
    blue_is_live.machine.run("touch /run/sick-blue")

    def refused() -> bool:
        return (
            "has no healthy server"
            in blue_is_live.machine.run("journalctl -o cat -u 'bluegreen-revert-*'").stdout
        )

    until(refused, seconds=20)
    assert blue_is_live.answers() == (200, "green")
    blue_is_live.machine.run("rm /run/sick-blue")
    until(lambda: blue_is_live.answers() == (200, "blue"), seconds=20)
    assert blue_is_live.status().pending is None


def test_a_restart_by_hand_keeps_live_and_is_noticed(blue_is_live: Proxy) -> None:
    known = blue_is_live.status().haproxy.config_sha256
    assert known
    blue_is_live.machine.run("systemctl restart haproxy")
    until(lambda: blue_is_live.status().haproxy.running)
    status = blue_is_live.status()
    assert (status.live, status.consistent, status.haproxy.config_sha256) == (Color.BLUE, True, None)
    assert blue_is_live.sync()["reloaded"]
    assert blue_is_live.status().haproxy.config_sha256 == known


def test_a_stopped_haproxy_is_started_and_goes_on_where_it_was(blue_is_live: Proxy) -> None:
    blue_is_live.machine.run("systemctl stop haproxy")
    assert not blue_is_live.status().haproxy.running
    assert blue_is_live.sync()["reloaded"]
    assert blue_is_live.answers() == (200, "blue")


def test_a_configuration_that_cannot_bind_is_taken_back(blue_is_live: Proxy) -> None:
    blue_is_live.machine.run("systemd-run --unit=occupied python3 -m http.server 9999")
    until(lambda: blue_is_live.machine.run("curl -fs http://127.0.0.1:9999/", check=False).returncode == 0)
    good = blue_is_live.machine.run("cat /etc/haproxy/haproxy.cfg").stdout
    bad = good.replace("bind *:80\n", "bind *:80\n    bind 127.0.0.1:9999\n    bind *:9999\n")
    answer = blue_is_live.call(
        "sync", token=blue_is_live.token, config=bad, initial={"live": None, "idle": "blue"}
    )
    blue_is_live.machine.run("systemctl stop occupied")
    assert (answer["ok"], answer.get("error")) == (False, "reload_failed")
    assert blue_is_live.machine.run("cat /etc/haproxy/haproxy.cfg").stdout == good
    assert blue_is_live.answers() == (200, "blue")
    assert not blue_is_live.sync()["reloaded"]
