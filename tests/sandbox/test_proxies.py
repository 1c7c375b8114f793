"""Two proxies as one, over SSH, and what one of them does when it loses power."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
import requests

from agent.protocol import Verb
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.fleet import host_keys as hostkey
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.run.ledger import read_ledger
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.haproxy_config import Server
from bluegreen.traffic.live import DisagreementError, color_to_agree_on, live_color
from sandbox import Machine
from tests.haproxy_values import rendered
from tests.sandbox.droplets import Shop
from tests.sandbox.local_applications import ADDRESSES, APPLICATIONS, REVISIONS
from tests.sandbox.replay import State, replay
from tests.started import started
from tests.waiting import until

pytestmark = pytest.mark.sandbox

APPLICATIONS_UNIT = """[Service]
ExecStart=/usr/bin/python3 /root/applications.py
[Install]
WantedBy=multi-user.target
"""
CONFIG = rendered(
    servers={
        color: [
            Server(f"my-perl-app-{color}-{number}", IPv4Address(address), 8080, 8)
            for number, address in enumerate(ADDRESSES[color], 1)
        ]
        for color in Color
    },
)


def color_from(machine: Machine) -> str | None:
    """Return the color that answers a client, or what it gets instead."""
    session = requests.Session()
    session.trust_env = False
    try:
        response = session.get(f"http://{machine.address}/", timeout=5)
    except requests.RequestException:
        return "no answer"
    return response.headers.get("X-Color") or f"status {response.status_code}"


class Pair:
    """Two proxies, and the run that holds their locks."""

    def __init__(self, machines: list[Machine], hook: ProxiesHook) -> None:
        self.machines = machines
        self.hook = hook

    def switch(self, to: Color, confirm_within: float = 60) -> dict[str, Any]:
        """Move traffic."""
        return self.hook.switch(
            to=to,
            revision=REVISIONS[to],
            started=started(REVISIONS[to]),
            confirm_within=confirm_within,
            min_servers=2,
            health_path="/health",
        )

    def call(self, number: int, verb: str, **request: Any) -> dict[str, Any]:
        """Ask one of them alone, as a run does that is killed before it gets to the other."""
        member = self.hook.members[number]
        return member.call(Verb(verb), token=self.hook.tokens[member.name], **request)

    def colors(self) -> list[str | None]:
        """What clients get from each."""
        return [color_from(machine) for machine in self.machines]

    def ledgers(self) -> list[list[dict[str, Any]]]:
        """What each has written down, the latest runs last."""
        return [member.ledger(10) for member in self.hook.members]

    def power_cycle(self, machine: Machine) -> list[str | None]:
        """Cut a machine's power, give it back, and return everything that clients then get until it is up."""
        machine.power_off()
        machine.power_on()
        seen: list[str | None] = []
        deadline = time.monotonic() + 60
        while len(seen) < 20:
            assert time.monotonic() < deadline, "it does not answer again"
            if (color := color_from(machine)) != "no answer":
                seen.append(color)
        self.hook.close()
        return seen


@pytest.fixture(scope="module")
def two(shop: Shop) -> Iterator[Pair]:
    """Return two proxies as provisioning makes them, with application servers behind each."""
    key = hostkey.generate()
    machines = shop.order(
        "pair-lb-1",
        "pair-lb-2",
        user_data=render_user_data(app="my_perl_app", proxy=True, host_key=key),
        tags=("app:pair", key.tag),
    )
    with pytest.MonkeyPatch.context() as patch:
        login = {"conn_type": "ssh", "login": "root", "extra": {"key_file": str(shop.key)}}
        patch.setenv("AIRFLOW_CONN_BLUEGREEN_SSH", json.dumps(login))
        behind = [(str(color), REVISIONS[color], ADDRESSES[color]) for color in Color]
        for machine in machines:
            machine.wait_ready()
            shop.wait_for_ssh(machine)
            machine.run(["tee", "/root/applications.py"], text=APPLICATIONS % behind)
            machine.run(["tee", "/etc/systemd/system/applications.service"], text=APPLICATIONS_UNIT)
            machine.run("systemctl enable --now applications")
        found = shop.client().droplets.list(tag_name="app:pair")["droplets"]
        hook = ProxiesHook(load_app("my_perl_app"), [Droplet.from_api(each) for each in found])
        hook.lock("test", "deploy/run-1", "v1", lambda other: True)
        hook.sync(CONFIG, live=None, idle=Color.BLUE)
        yield Pair(machines, hook)
        hook.close()


@pytest.fixture
def pair(two: Pair) -> Pair:
    """Return them with blue live and confirmed on both."""
    for machine in two.machines:
        if machine.status != "active":
            machine.power_on()
    until(lambda: "no answer" not in two.colors(), seconds=40)
    two.hook.lock("test", "deploy/run-1", "v1", lambda other: True)
    two.hook.revert()
    two.switch(Color.BLUE)
    if any(status.pending for status in two.hook.statuses().values()):
        two.hook.confirm(REVISIONS[Color.BLUE])
    return two


def test_both_move(pair: Pair) -> None:
    results = pair.switch(Color.GREEN)
    assert set(results) == {machine.name for machine in pair.machines}
    assert pair.colors() == ["green", "green"]
    pair.hook.confirm(REVISIONS[Color.GREEN])
    assert {status.pending for status in pair.hook.statuses().values()} == {None}


def test_a_run_that_dies_has_one_record_on_each_though_its_own_report_comes_late(pair: Pair) -> None:
    def lock(number: int) -> dict[str, Any]:
        run = {"dag_id": "deploy", "run_id": f"run-{number}", "attempt": 0, "started": None}
        begun = {**run, "trigger": "manual", "triggered_by": "test", "subject": "deploy"}
        pair.hook.lock("test", f"deploy/run-{number}", "v1", lambda other: True, record_at_start=begun)
        return begun

    def outcomes() -> list[list[tuple[str, str]]]:
        return [[(one["run_id"], one["outcome"]) for one in lines] for lines in pair.ledgers()]

    dying = lock(2)
    pair.switch(Color.GREEN)
    lock(3)
    pair.hook.record({**dying, "outcome": "live and confirmed"})
    assert outcomes() == [[("run-2", "ended without a report")]] * 2
    assert replay(read_ledger(pair.ledgers())) == State(live=Color.BLUE, revision=REVISIONS[Color.BLUE])
    assert pair.colors() == ["blue", "blue"]


def test_the_other_goes_back_when_one_loses_power_in_the_middle(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair.hook.members
    machine = next(one for one in pair.machines if one.name == second.name)
    survivor = next(one for one in pair.machines if one.name == first.name)
    off = threading.Event()
    call = second.call

    def call_and_lose_power(verb: Verb, **request: Any) -> dict[str, Any]:
        if verb is Verb.SWITCH and not request.get("prepare_only"):
            machine.power_off()
            off.set()
        return call(verb, **request)

    monkeypatch.setattr(second, "call", call_and_lose_power)
    failures: list[Exception] = []

    def switch() -> None:
        try:
            pair.switch(Color.GREEN)
        except ProxyError as error:
            failures.append(error)

    deploy = threading.Thread(target=switch)
    deploy.start()
    assert off.wait(20)
    until(lambda: color_from(survivor) == "green")
    # Long before its timer would take it back.
    until(lambda: color_from(survivor) == "blue", seconds=30)
    deploy.join()
    [failure] = failures
    assert f"{second.name}: unknown" in str(failure)
    assert f"{first.name}: blue" in str(failure)


def test_after_a_power_cut_an_unconfirmed_switch_is_gone_before_any_client_is_answered(pair: Pair) -> None:
    pair.switch(Color.GREEN)
    assert set(pair.power_cycle(pair.machines[0])) == {"blue"}
    status = pair.hook.statuses()[pair.machines[0].name]
    assert (status.live, status.pending, status.consistent) == (Color.BLUE, None, True)
    assert status.last_revert is not None
    assert "restarted" in status.last_revert.reason


def test_after_a_power_cut_a_confirmed_switch_stays(pair: Pair) -> None:
    pair.switch(Color.GREEN)
    pair.hook.confirm(REVISIONS[Color.GREEN])
    assert set(pair.power_cycle(pair.machines[0])) == {"green"}
    assert pair.hook.statuses()[pair.machines[0].name].haproxy.root is False


def test_a_timer_outlives_a_reload(pair: Pair) -> None:
    pair.switch(Color.GREEN, confirm_within=4)
    pair.machines[0].run("systemctl reload haproxy")
    until(lambda: pair.colors() == ["blue", "blue"])


def test_one_whose_haproxy_does_not_run_keeps_the_other_from_nothing(pair: Pair) -> None:
    pair.switch(Color.GREEN)
    pair.machines[0].run("systemctl stop haproxy")
    try:
        pair.hook.revert()
        assert color_from(pair.machines[1]) == "blue"
    finally:
        pair.machines[0].run("systemctl start haproxy")
    until(lambda: pair.colors() == ["blue", "blue"])


def die_while_confirming(pair: Pair, *agreed: int, confirmed: int | None = None) -> None:
    """Get as far as a run that is killed: some have agreed to confirm, and one may have confirmed."""
    revision = REVISIONS[Color.GREEN]
    for number in agreed:
        pair.call(number, "confirm", revision=revision, prepare_only=True)
    if confirmed is not None:
        pair.call(confirmed, "confirm", revision=revision)


@pytest.mark.parametrize(
    ("agreed", "confirmed", "end"),
    [((0,), None, "blue"), ((0, 1), None, "green"), ((0, 1), 0, "green")],
    ids=["after one had agreed", "after both had agreed", "after one had confirmed"],
)
def test_a_run_that_dies_while_it_confirms_leaves_both_on_the_same_color(
    pair: Pair, agreed: tuple[int, ...], confirmed: int | None, end: str
) -> None:
    pair.switch(Color.GREEN, confirm_within=6)
    die_while_confirming(pair, *agreed, confirmed=confirmed)
    until(lambda: not any(status.pending for status in pair.hook.statuses().values()))
    assert pair.colors() == [end, end]


def test_proxies_that_disagree_are_made_to_agree(pair: Pair) -> None:
    pair.switch(Color.GREEN)
    pair.call(0, "confirm", revision=REVISIONS[Color.GREEN])
    pair.call(1, "revert")
    assert pair.colors() == ["green", "blue"]
    with pytest.raises(DisagreementError, match="pair-lb-1: green, pair-lb-2: blue"):
        live_color(pair.hook.statuses())
    before = color_to_agree_on(pair.hook.statuses(), None, goes_back=True, i_know=False)
    assert before is Color.BLUE
    assert pair.hook.align(Color.BLUE) == ["pair-lb-1"]
    assert pair.colors() == ["blue", "blue"]


def test_an_old_token_changes_nothing(pair: Pair) -> None:
    old = dict(pair.hook.tokens)
    pair.hook.unlock()
    pair.hook.lock("test", "deploy/run-2", "v2", lambda other: True)
    current, pair.hook.tokens = pair.hook.tokens, old
    changes: dict[str, Callable[[], object]] = {
        "switch": lambda: pair.switch(Color.GREEN),
        "sync": lambda: pair.hook.sync(CONFIG + "# other\n", live=None, idle=Color.BLUE),
        "confirm": lambda: pair.hook.confirm(REVISIONS[Color.BLUE]),
        "align": lambda: pair.hook.align(Color.GREEN),
        "revert": pair.hook.revert,
        "renew": pair.hook.renew,
    }
    before = [
        machine.run("cat /etc/haproxy/haproxy.cfg /etc/haproxy/traffic.map").stdout
        for machine in pair.machines
    ]
    for verb, change in changes.items():
        with pytest.raises(ProxyError, match="no longer holds the lock") as refused:
            change()
        assert refused.value.code == "lock_lost", verb
    assert [
        machine.run("cat /etc/haproxy/haproxy.cfg /etc/haproxy/traffic.map").stdout
        for machine in pair.machines
    ] == before
    assert pair.colors() == ["blue", "blue"]
    pair.hook.tokens = current
