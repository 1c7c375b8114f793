"""The proxy agent on a real machine: Debian's HAProxy unit, systemd's timers."""

from __future__ import annotations

import base64
import io
import json
import shlex
import tarfile
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
from tests.agent_source import PRINT_DIGEST, ROOT, source_files
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


def test_a_machine_makes_the_same_zip_as_airflow(machine: Machine) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for path in reversed(list(source_files())):
            archive.add(ROOT / path, str(path))
    source = base64.b64encode(packed.getvalue()).decode()
    machine.run("mkdir /run/source && base64 -d | tar -xz -C /run/source --touch", text=source)
    command = ["env", "PYTHONPATH=/run/source/plugins", "python3", "-B", "-c", PRINT_DIGEST]
    assert machine.run(command).stdout.strip() == agent_bundle().sha256


def test_the_first_sync_takes_over_from_debians_configuration(
    fresh: tuple[Proxy, dict[str, Any], str],
) -> None:
    proxy, answer, default = fresh
    assert (answer["changed"], answer["reloaded"]) == (True, True)
    assert proxy.answers() == (503, None)
    assert proxy.machine.run("cat /etc/haproxy/haproxy.cfg.*.bak").stdout == default
    assert proxy.machine.run("stat -c '%a %U %G' /etc/haproxy/haproxy.cfg").stdout == "640 root haproxy\n"
    status = proxy.status()
    assert (status.live, status.consistent, status.haproxy.running) == (None, True, True)


def test_systemd_understands_haproxys_unit_and_finds_little_to_fear(blue_is_live: Proxy) -> None:
    verified = blue_is_live.machine.run(["systemd-analyze", "verify", "haproxy.service"], check=False)
    assert "unprivileged.conf" not in verified.stdout + verified.stderr
    blue_is_live.machine.run(["systemd-analyze", "security", "--threshold=25", "haproxy.service"])


def haproxy_users(machine: Machine) -> set[str]:
    return set(machine.run("ps -o user= -C haproxy").stdout.split())


def test_haproxy_may_bind_low_ports_and_nothing_else_of_root_s(blue_is_live: Proxy) -> None:
    machine = blue_is_live.machine
    assert blue_is_live.status().haproxy.root is False
    machine.run("systemctl reload haproxy")
    until(lambda: blue_is_live.status().haproxy.running)
    assert haproxy_users(machine) == {"haproxy"}
    # A worker of before the reload may end meanwhile.
    shown = machine.run("cat $(pgrep haproxy | sed 's,.*,/proc/&/status,')", check=False)
    states = shown.stdout.splitlines()
    found = {line for line in states if line.startswith(("CapEff", "CapBnd", "NoNewPrivs"))}
    only_net_bind_service = f"{1 << 10:016x}"
    assert found == {
        f"CapEff:\t{only_net_bind_service}",
        f"CapBnd:\t{only_net_bind_service}",
        "NoNewPrivs:\t1",
    }
    assert blue_is_live.sync()["reloaded"]


READS_SHADOW = (
    "    http-request return status 200 content-type text/plain file /etc/shadow if { path /shadow }\n"
)
READS_ITS_MEMORY = (
    "    http-request return status 200 content-type text/plain file /proc/1/environ if { path /x }\n"
)


@pytest.mark.parametrize("line", [READS_SHADOW, READS_ITS_MEMORY])
def test_a_configuration_cannot_read_root_s_files(blue_is_live: Proxy, line: str) -> None:
    good = blue_is_live.machine.run("cat /etc/haproxy/haproxy.cfg").stdout
    bad = good.replace("bind *:80\n", f"bind *:80\n{line}")
    answer = blue_is_live.call(
        "sync", token=blue_is_live.token, config=bad, initial={"live": None, "idle": "blue"}
    )
    assert (answer["ok"], answer.get("error")) == (False, "invalid_config")
    blue_is_live.machine.run(["tee", "/etc/haproxy/haproxy.cfg"], text=bad)
    assert blue_is_live.machine.run("systemctl reload haproxy", check=False).returncode != 0
    assert blue_is_live.answers() == (200, "blue")
    blue_is_live.sync()


def test_lua_in_a_configuration_has_no_root_s_rights(blue_is_live: Proxy) -> None:
    machine = blue_is_live.machine
    machine.run(["tee", "/etc/haproxy/who.lua"], text="os.execute('id -un >>/run/haproxy/who')\n")
    good = machine.run("cat /etc/haproxy/haproxy.cfg").stdout
    with_lua = good.replace("\nglobal\n", "\nglobal\n    lua-load /etc/haproxy/who.lua\n")
    request = {"token": blue_is_live.token, "initial": {"live": None, "idle": "blue"}}
    blue_is_live.ok("sync", config=with_lua, **request)
    # Once in the check of the candidate, once in that of a reload, and once by HAProxy itself.
    users = machine.run("cat /run/haproxy/who").stdout.split()
    machine.run("rm /etc/haproxy/who.lua /run/haproxy/who")
    assert len(users) >= 3
    assert set(users) == {"haproxy"}
    blue_is_live.sync()


def test_an_haproxy_that_serves_as_root_is_not_restarted_but_named(blue_is_live: Proxy) -> None:
    """What an upgrade of the project finds: a unit without the drop-in, and clients."""
    machine = blue_is_live.machine
    machine.run("rm -r /etc/systemd/system/haproxy.service.d && systemctl daemon-reload")
    machine.run("sed -i '/^global/a \\    chroot /var/lib/haproxy' /etc/haproxy/haproxy.cfg")
    machine.run("chown root:root /etc/haproxy/haproxy.cfg && chmod 600 /etc/haproxy/haproxy.cfg")
    machine.run("systemctl restart haproxy")
    master = machine.run("systemctl show --value --property=MainPID haproxy").stdout
    assert blue_is_live.status().haproxy.root
    assert blue_is_live.sync()["reloaded"]
    assert machine.run("systemctl show --value --property=MainPID haproxy").stdout == master
    assert blue_is_live.status().haproxy.root
    # Every reload until then goes on as root, whose master the drop-in's user could not signal.
    assert blue_is_live.sync(timeout_server=51)["reloaded"]
    assert blue_is_live.answers() == (200, "blue")
    machine.run("systemctl restart haproxy")
    assert blue_is_live.answers() == (200, "blue")
    assert (blue_is_live.status().haproxy.root, haproxy_users(machine)) == (False, {"haproxy"})
    blue_is_live.sync()


def test_a_switch_moves_traffic_and_a_revert_moves_it_back(blue_is_live: Proxy) -> None:
    assert blue_is_live.answers() == (200, "blue")
    blue_is_live.switch(Color.GREEN)
    assert blue_is_live.answers() == (200, "green")
    assert blue_is_live.ok("revert", token=blue_is_live.token)["reverted"]
    assert blue_is_live.answers() == (200, "blue")


def test_an_unconfirmed_switch_reverts_on_time_by_itself(blue_is_live: Proxy) -> None:
    moved = blue_is_live.switch(Color.GREEN, confirm_within=8)
    assert blue_is_live.answers() == (200, "green")
    until(lambda: blue_is_live.answers() == (200, "blue"))
    status = blue_is_live.status()
    assert status.last_revert is not None
    # Not early; the timer counts from before traffic moved.
    assert status.last_revert.at - moved["at"] > 7
    assert (status.live, status.consistent, status.pending) == (Color.BLUE, True, None)
    assert "not confirmed in time" in status.last_revert.reason


def test_a_confirmed_switch_has_no_timer_left(blue_is_live: Proxy) -> None:
    moved = blue_is_live.switch(Color.GREEN, confirm_within=8)
    assert "bluegreen-revert-" in blue_is_live.timers()
    blue_is_live.confirm(Color.GREEN)
    assert blue_is_live.timers() == ""
    while time.time() < moved["at"] + 9:
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
    until(lambda: machine.run("pgrep -f '[/]agent-.*pyz'", check=False).stdout == "", "no call is left")
    blue_is_live.switch(Color.GREEN)


def test_a_version_whose_timer_is_armed_outlives_the_next_version(blue_is_live: Proxy) -> None:
    machine, before = blue_is_live.machine, edited_bundle("__init__.py", lambda text: text + "# before\n")
    install_agent(machine, before)
    revision = REVISIONS[Color.GREEN]
    request = {"to": Color.GREEN, "revision": revision, "started": started(revision), "min_servers": 2}
    request |= {"confirm_within": 12, "health_path": "/health", "token": blue_is_live.token}
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
    blue_is_live.switch(Color.GREEN, confirm_within=10)
    blue_is_live.machine.run("touch /run/sick-blue")

    def refused() -> bool:
        return (
            "has no healthy server"
            in blue_is_live.machine.run("journalctl -o cat -u 'bluegreen-revert-*'").stdout
        )

    until(refused)
    assert blue_is_live.answers() == (200, "green")
    blue_is_live.machine.run("rm /run/sick-blue")
    until(lambda: blue_is_live.answers() == (200, "blue"))
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
