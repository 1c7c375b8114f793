"""Which release a rollback by hand goes back to."""

from __future__ import annotations

from threading import Barrier
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.operators import previous_release
from bluegreen.run.plan import Plan
from bluegreen.run.previous import HealthyPairing
from bluegreen.traffic.agent_answers import Probe
from tests.unit.fleets import FLEET as ONE_EACH
from tests.unit.fleets import V1, V2, healthy, released
from tests.unit.operators.previous_releases import (
    EVERYWHERE,
    LOCK,
    NAMES,
    PLAN,
    SKIPPED,
    both,
    confirmed,
    go_back,
    target,
    there,
)
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting", "both_were_live")


def test_it_is_what_the_idle_color_runs_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V2))
    assert found == ([], V2, SKIPPED, target(V2, confirmed=False, is_running=True))


def test_what_was_kept_last_there_and_runs_is_only_moved_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2))
    assert found == ([], V2, SKIPPED, target(V2, confirmed=True, is_running=True))


@pytest.mark.parametrize("running", [V2, BlueGreenError("green cannot take the traffic")])
def test_a_release_that_was_never_kept_gets_no_traffic_and_the_one_before_is_started(
    running: str | BlueGreenError, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V1, V2), good=confirmed(V1), running=running)
    assert found[:3] == (EVERYWHERE, V1, [])


@pytest.mark.parametrize("asked_for", [None, V2[:7]])
@pytest.mark.parametrize(
    "other",
    [healthy(released(V2), "e" * 64), healthy(released(V2, "2")), healthy(released(V2), pairing="f" * 64)],
    ids=["configuration", "artifact", "unit"],
)
def test_what_was_rejected_gets_no_traffic_although_it_is_of_the_good_revision(
    monkeypatch: pytest.MonkeyPatch, other: HealthyPairing, asked_for: str | None
) -> None:
    """One of the droplets is enough."""
    has_both = [one.model_copy(update={"activated": (other, *one.activated)}) for one in both(V2)]
    found = go_back(
        monkeypatch,
        asked_for,
        on_droplets=has_both,
        good=confirmed(V2),
        started={"green-1": confirmed(V2).pairings["green-1"], "green-2": other.pairing},
    )
    assert found == (EVERYWHERE, V2, [], target(V2, confirmed=True, is_running=False))


def test_a_droplet_of_which_it_is_not_certain_what_it_runs_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"green-1": confirmed(V2).pairings["green-1"], "green-2": None}
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started=started)
    assert found[:3] == (EVERYWHERE, V2, [])


def test_a_droplet_that_ssh_does_not_reach_keeps_no_traffic_from_going_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"green-1": confirmed(V2).pairings["green-1"]}
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started=started)
    assert found[:3] == ([], V2, SKIPPED)


@pytest.mark.parametrize(
    ("later", "moves"),
    [
        ({"to": "green", "outcome": "rolled back", "phases": {"deploy_0": 9.0}}, False),
        ({"to": "green", "outcome": "refused by policy", "phases": {"restore_1": 9.0}}, False),
        ({"outcome": "ended without a report", "found_by": "another"}, False),
        ({"to": "green", "outcome": "refused before the switch", "phases": {"build": 9.0}}, True),
        ({"to": "blue", "outcome": "rolled back", "phases": {"deploy_0": 9.0}}, True),
        ({"to": "green", "outcome": "live and confirmed", "phases": {"deploy_0": 9.0}}, True),
    ],
)
def test_what_ssh_does_not_reach_is_believed_only_if_no_later_run_has_started_something_there(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, later: dict[str, Any], moves: bool
) -> None:
    hook = ledger([("live and confirmed", V2), ("", V2)])
    hook.ledger.return_value[0] |= {"to": "green", "phases": {"deploy_0": 9.0}}
    hook.ledger.return_value[1] |= later
    for number, line in enumerate(hook.ledger.return_value):
        line["ended"] = f"2026-11-0{number + 1}T00:00:00Z"
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started={})
    assert found[0] == ([] if moves else EVERYWHERE)


def test_what_runs_counts_only_if_all_droplets_run_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known to have been confirmed, and each has another configuration."""
    two = [there(V2), there(V2, name="green-2", configuration="e" * 64)]
    started = {name: one.activated[0].pairing for name, one in zip(NAMES, two, strict=True)}
    with pytest.raises(AirflowFailException, match="do not all run one release with one configuration"):
        go_back(monkeypatch, None, on_droplets=two, started=started)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"port": 5000}, r"green-1: b{12} listened on port 5000, and HAProxy looks for it on 8080 now"),
        ({"address": "198.19.0.9"}, r"green-1: b{12} listened on 198.19.0.9, and the private address is"),
        (
            {"pairing": "f" * 64},
            "green-1, green-2: b{12} is not there any more, and the artifact store .* does",
        ),
    ],
)
def test_what_cannot_be_started_as_it_was_confirmed_is_not_started_in_another_way(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(AirflowFailException, match=text) as raised:
        go_back(
            monkeypatch, None, on_droplets=both(V2, **changes), good=confirmed(V2), running=V1, started={}
        )
    assert "deploy it instead" in str(raised.value)


def test_a_color_that_is_not_well_is_started_again_if_it_is_known_what_was_kept_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may run that already, but where HAProxy does not look for it, because a setting was changed."""
    unhealthy, known = BlueGreenError("green cannot take the traffic"), both(V1)
    found = go_back(monkeypatch, None, on_droplets=known, good=confirmed(V1), running=unhealthy)
    assert found[:2] == (EVERYWHERE, V1)
    assert go_back(monkeypatch, V1[:7], on_droplets=known, running=unhealthy)[:2] == (EVERYWHERE, V1)
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=known, good=None, running=unhealthy)
    # Why it is not well matters more than that what was kept is gone.
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=known, good=confirmed(V2), running=unhealthy)


def test_a_release_that_was_never_healthy_there_or_is_gone_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = (
        r"green-2: a{12} is not there any more, and the artifact store .* does not have .*deploy it instead"
    )
    with pytest.raises(AirflowFailException, match=gone):
        go_back(monkeypatch, V1, on_droplets=[there(V1, V2), there(V2, name="green-2")])


def test_all_droplets_are_asked_for_their_releases_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    all_asked = Barrier(2, timeout=5)

    def asked(_app: Any, droplet: Any) -> Any:
        all_asked.wait()
        return SimpleNamespace(answer=there(V1, V2, name=droplet.name))

    monkeypatch.setattr(previous_release, "ask_app_server", asked)
    plan = Plan.model_validate(PLAN)
    task: Any = previous_release.PreviousReleaseOperator(
        app_id="my_perl_app", task_id="previous_release", lock=LOCK, plan=PLAN, activation=[]
    )
    monkeypatch.setattr(type(task), "_running", lambda *_: V2)
    previous = task._find(plan, V1, {})
    assert (previous.revision, previous.release) == (V1, released(V1))


def test_a_release_that_runs_already_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, V1[:7], on_droplets=both(V1), running=V1)
    assert found == ([], V1, SKIPPED, target(V1, confirmed=False, is_running=True))


def test_a_proxy_that_could_not_be_asked_says_nothing_about_the_idle_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = DropletUnreachableError("lb-1: the SSH connection was lost")
    with pytest.raises(AirflowException, match="connection was lost") as raised:
        go_back(monkeypatch, V1, on_droplets=both(V1), running=lost)
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize(
    ("server", "answer", "text"),
    [
        ({"port": 9090}, {"status": 404, "revision": V1}, None),
        ({"up": False, "check": "L4CON"}, {"status": 200, "revision": V1}, "green-1 .*is not healthy: L4CON"),
        ({"name": "other"}, {"status": 200, "revision": V1}, "green-1 .*lb-1 does not know it"),
        (
            {},
            {"status": None, "revision": None, "error": "timed out"},
            "green-1 .*does not answer: timed out",
        ),
    ],
    ids=["another port and path than today's", "down", "unknown", "silent"],
)
def test_whether_the_idle_color_is_well_is_haproxy_s_to_say(
    server: dict[str, Any], answer: dict[str, Any], text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"name": "green-1", "address": "10.0.0.4", "port": 8080, "up": True, "check": "L7OK", **server}
    hook = create_autospec(ProxyHook, instance=True)
    hook.name = "lb-1"
    hook.status.return_value = status(servers={"blue": [], "green": [known]})
    hook.probe_all.return_value = [Probe(color=None, milliseconds=1.0, **{"error": None, **answer})]
    monkeypatch.setattr(ProxyHook, "of", lambda *_: hook)
    task: Any = previous_release.PreviousReleaseOperator(
        app_id="my_perl_app", task_id="previous_release", lock=LOCK, plan=PLAN, activation=[]
    )
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH)
    if text is None:
        assert task._running(plan) == V1
        assert hook.probe_all.call_args.args == ([("10.0.0.4", 9090)],)
    else:
        with pytest.raises(BlueGreenError, match=text):
            task._running(plan)
