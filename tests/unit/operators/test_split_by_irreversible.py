"""Proxies of which some have kept a switch to an irreversible release, and others did not follow."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bluegreen.color import Color
from bluegreen.operators import render_and_reload
from bluegreen.operators.align import AlignOperator
from bluegreen.operators.freeze import FreezeOperator
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.fleets import FLEET, V1, V2, droplet
from tests.unit.provision import Check
from tests.unit.runs import LOCK, Run, context, plan
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

WHY = "0123456: drops users.email"
# The switch that some have kept, the bad release on green before it, and the good one on blue before that.
SWITCH, REVERT, BEFORE = 9, 8, 5
TAKEN_BACK = {"from": "green", "to": "blue", "at": 80.0, "reason": "x", "run_id": "q", "token": REVERT}
REVERTS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "not acknowledged": TAKEN_BACK,
    "acknowledged": {**TAKEN_BACK, "token": BEFORE - 1},
    "refused": {**TAKEN_BACK, "refused": True},
}
# Which of two and of three proxies have moved: at least one, and not all.
MOVED = [one for count in (2, 3) for one in product((True, False), repeat=count) if any(one) and not all(one)]
REFUSED = (
    r"the proxies disagree about the live color \(.*\), and there is no way back from the release on green "
    r"\(0123456: drops users\.email\).*; to send all traffic to green, run the app's rollback with `live` "
    r"set to green, or deploy with that; to send it back to blue nevertheless, run the app's rollback with "
    r"`i_know`"
)


def kept(last_revert: Any = None, **changes: Any) -> ProxyStatus:
    about = {"run_id": "d", "at": 90.0, "token": SWITCH, "irreversible": WHY, "judged": False}
    return status(
        "green", confirmed={"color": "green", "revision": V2, **about, **changes}, last_revert=last_revert
    )


def behind(last_revert: Any = None, **changes: Any) -> ProxyStatus:
    about = {"color": "blue", "revision": V1, "run_id": "p", "at": 50.0, "token": BEFORE}
    return status("blue", confirmed={**about, **changes}, last_revert=last_revert)


def split(moved: tuple[bool, ...], revert: Any = None) -> dict[str, Any]:
    # Where the newer switch was kept, the revert is acknowledged by that.
    return {f"lb-{n}": (kept if one else behind)(revert) for n, one in enumerate(moved, 1)}


def check_of(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, Any], **settings: Any) -> Check:
    check = Check(monkeypatch, **settings)
    check.statuses = statuses
    proxies = tuple(droplet(10 + n, name) for n, name in enumerate(statuses))
    check.fleet = FLEET.model_copy(update={"proxies": proxies})
    return check


def found(check: Check, **params: Any) -> str | None:
    """Return which color a run takes for live; ``None`` if it is refused, and has made no plan."""
    check.said.clear()
    try:
        check.run(**params)
    except AirflowFailException as error:
        refusal = str(error)
        check.said["refusal"] = refusal
        assert "plan" not in check.said
        return None
    return str(check.said["plan"]["live"])


@pytest.mark.parametrize("revert", REVERTS)
@pytest.mark.parametrize("moved", MOVED, ids=str)
def test_no_run_goes_back_over_it_unless_somebody_knows(
    moved: tuple[bool, ...], revert: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = split(moved, REVERTS[revert])
    deploy = check_of(monkeypatch, statuses, revision=V2)
    for i_know in (False, True):
        # A deploy has no such parameter; Airflow lets it be sent nevertheless.
        assert found(deploy, i_know=i_know) is None
        assert found(deploy, live="blue", i_know=i_know) is None
        assert found(deploy, live="green", i_know=i_know) == "green"
    rollback = check_of(monkeypatch, statuses, goes_back=True)
    assert found(rollback) is None
    assert found(rollback, live="blue") is None
    assert found(rollback, live="green") == "green"
    assert found(rollback, i_know=True) == "blue"
    assert found(rollback, i_know=True, live="blue") == "blue"
    assert found(rollback, i_know=True, live="green") == "green"
    assert found(rollback, revision=V1) is None


@pytest.mark.parametrize("moved", MOVED, ids=str)
def test_the_refusal_says_what_is_live_where_and_what_to_do(
    moved: tuple[bool, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for settings in ({"goes_back": True}, {"revision": V2}):
        check = check_of(monkeypatch, split(moved, TAKEN_BACK), **settings)
        for params in ({}, {"live": "blue"}):
            with pytest.raises(AirflowFailException, match=REFUSED) as error:
                check.run(**params)
            for number, one in enumerate(moved, 1):
                assert f"lb-{number}: {'green' if one else 'blue'}" in str(error.value)


def test_a_switch_that_was_kept_since_is_not_irreversible_for_what_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody knew, and went back; one proxy kept that, and another one did not."""
    back = {**TAKEN_BACK, "from": "blue", "to": "green", "token": SWITCH + 1}
    gone_back = behind(token=SWITCH + 1, run_id="bluegreen_rollback__my_perl_app/r")
    check = check_of(monkeypatch, {"lb-1": gone_back, "lb-2": kept(back)}, goes_back=True)
    assert found(check) == "green"
    assert found(check, live="blue") == "blue"
    # One irreversible release after another: the newer one counts.
    check.statuses = {"lb-1": behind(irreversible="older"), "lb-2": kept()}
    assert found(check, live="green") == "green"
    assert found(check, live="blue") is None
    # A reversible release on top of an irreversible one: going back to that is an ordinary rollback.
    revert = {**TAKEN_BACK, "token": SWITCH + 1}
    on_top = status("green", confirmed={**gone_back.model_dump()["confirmed"], "color": "green"})
    check.statuses = {"lb-1": behind(revert, irreversible="older"), "lb-2": on_top}
    assert found(check) == "blue"
    assert found(check, live="green") == "green"


@pytest.mark.parametrize(
    "changes",
    [
        {"pending": {"from": "blue", "to": "green", "revision": V1, "run_id": "e", "deadline": 99.0}},
        {"last_revert": {**TAKEN_BACK, "token": SWITCH + 1, "refused": True}},
    ],
    ids=["not confirmed", "cannot be taken back"],
)
def test_a_later_switch_that_waits_is_taken_back_whatever_was_irreversible_on_its_color(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody knew, and all went back; since then a reversible release was switched to on one proxy."""
    if "pending" in changes:
        changes = {"pending": {**changes["pending"], "token": SWITCH + 1}}
    waiting = status("green", confirmed=kept().model_dump()["confirmed"], **changes)
    check = check_of(monkeypatch, {"lb-1": waiting, "lb-2": behind()}, goes_back=True)
    assert found(check) == "blue"
    assert found(check, live="blue") == "blue"


def test_a_kept_switch_that_a_killed_call_left_pending_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pending = {"from": "blue", "to": "green", "revision": V2, "run_id": "d", "deadline": 99.0}
    killed = status("green", pending={**pending, "token": SWITCH, "irreversible": WHY}, confirmed=None)
    check = check_of(monkeypatch, {"lb-1": killed, "lb-2": behind(TAKEN_BACK)}, goes_back=True)
    assert found(check) is None
    assert found(check, i_know=True) == "blue"


def test_what_one_proxy_took_back_before_another_one_kept_a_switch_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One of them was restored from a copy of that time."""
    restored = behind(TAKEN_BACK)
    newer = {"color": "green", "revision": V2, "run_id": "d", "at": 90.0, "token": SWITCH}
    check = check_of(
        monkeypatch, {"lb-1": status("green", confirmed=newer), "lb-2": restored}, goes_back=True
    )
    assert found(check) is None
    assert "lb-1: green, lb-2: blue" in check.said["refusal"]
    assert "none of them knows which was live before; set `live`" in check.said["refusal"]
    assert found(check, live="green") == "green"


class Proxies:
    """Proxies that send traffic where they are told to."""

    def __init__(self, statuses: dict[str, Any]) -> None:
        self.now = dict(statuses)
        self.members: list[Any] = []

    def statuses(self) -> dict[str, Any]:
        return dict(self.now)

    def revert(self) -> dict[str, Any]:
        return {}

    def renew(self) -> None:
        pass

    renew_in_time = renew

    def sync(self, *_: Any, **__: Any) -> list[str]:
        return []

    def align(self, to: Color) -> list[str]:
        moved = [name for name, one in self.now.items() if one.live is not to]
        for name in moved:
            old = self.now[name].model_dump(by_alias=True)
            self.now[name] = ProxyStatus.parse({**old, "live": str(to), "idle": str(to.other)})
        return moved


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Proxies:
    hook = Proxies(split((True, False), TAKEN_BACK))
    monkeypatch.setattr("bluegreen.hooks.proxies.ProxiesHook.holding", lambda *_: hook)
    monkeypatch.setattr(render_and_reload, "haproxy_config", lambda *_, **__: "config")
    return hook


def advice_of_freeze() -> str:
    task = FreezeOperator(task_id="freeze", app_id="my_perl_app", lock=LOCK)
    with pytest.raises(AirflowFailException, match=REFUSED) as error:
        task.execute(context({"provision_check": "success"}, provision_check__plan=plan(Color.BLUE)))
    return str(error.value)


def aligned(check: Check, **params: Any) -> str:
    """Run a rollback up to the task that makes the proxies agree, and return what that says."""
    check.run(**params)
    task = AlignOperator(task_id="align", app_id="my_perl_app", lock=LOCK, plan=check.said["plan"])
    with pytest.raises(AirflowSkipException) as end:
        task.execute(Run(**params).context)
    return str(end.value)


def test_what_freeze_advises_works(hook: Proxies, monkeypatch: pytest.MonkeyPatch) -> None:
    advice = advice_of_freeze()
    assert "rollback with `live` set to green, or deploy with that" in advice
    before = hook.statuses()
    line = aligned(check_of(monkeypatch, before, goes_back=True), live="green")
    assert [one.live for one in hook.now.values()] == ["green", "green"]
    assert "all send traffic to green now (moved: lb-2)" in line
    assert f"its release was not found good and is irreversible ({WHY})" in line
    assert "bluegreen_rollback__my_perl_app with `i_know`" in line
    # The next rollback knows it from the proxy that has kept it.
    rollback = check_of(monkeypatch, hook.statuses(), goes_back=True)
    assert (found(rollback), rollback.said["plan"]["irreversible"]) == ("green", WHY)

    hook.now = dict(before)
    deploy = check_of(monkeypatch, before, revision=V2)
    assert found(deploy, live="green", force=True) == "green"
    render: Any = render_and_reload.RenderAndReloadOperator(
        app_id="my_perl_app", task_id="render_and_reload", lock=LOCK, plan=deploy.said["plan"]
    )
    render.execute(Run().context)
    assert [one.live for one in hook.now.values()] == ["green", "green"]

    hook.now = dict(before)
    assert "to send it back to blue nevertheless, run the app's rollback with `i_know`" in advice
    line = aligned(check_of(monkeypatch, before, goes_back=True), i_know=True)
    assert [one.live for one in hook.now.values()] == ["blue", "blue"]
    assert "all send traffic to blue now (moved: lb-1)" in line
    assert f"there was no way back from the release on green: {WHY}" in line
    # Back on blue, nothing is irreversible about what is live.
    rollback = check_of(monkeypatch, hook.statuses(), goes_back=True)
    assert found(rollback, revision=V2) == "blue"
    assert rollback.said["plan"]["irreversible"] is None
    # Nor does another rollback bring back what traffic has just left.
    hook.now = {name: with_reverts_forgotten(one) for name, one in hook.now.items()}
    rollback.statuses = hook.statuses()
    with pytest.raises(
        AirflowSkipException, match=r"on blue already: d has moved it to green.* moved from there"
    ):
        rollback.run()
    servers = [{"name": "blue-1", "address": "198.19.0.3", "port": 8080, "up": False, "check": "L4TOUT"}]
    no_server = {"servers": status(servers={"blue": servers, "green": []}).servers}
    rollback.statuses["lb-1"] = hook.now["lb-1"].model_copy(update=no_server)
    assert found(rollback) == "blue"


def with_reverts_forgotten(one: ProxyStatus) -> ProxyStatus:
    return one.model_copy(update={"last_revert": None})


def test_a_task_that_is_cleared_after_its_run_has_switched_takes_no_proxy_back(hook: Proxies) -> None:
    """The plan is from before the switch, which one proxy has kept."""
    before = hook.statuses()
    stale = plan(Color.BLUE)
    render: Any = render_and_reload.RenderAndReloadOperator(
        app_id="my_perl_app", task_id="render_and_reload", lock=LOCK, plan=stale
    )
    align: Any = AlignOperator(task_id="align", app_id="my_perl_app", lock=LOCK, plan=stale)
    for task in (render, align):
        with pytest.raises(AirflowFailException, match=REFUSED):
            task.execute(Run().context)
        assert hook.now == before
