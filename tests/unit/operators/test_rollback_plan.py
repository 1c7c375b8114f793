"""The plan of a rollback, and of what came back by itself."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bluegreen.color import Color
from bluegreen.source.policy import Age
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.started import good
from tests.unit.agent_status import answer
from tests.unit.fleets import FLEET, V1, V2, facts
from tests.unit.provision import Check
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")


def test_a_rollback_learns_from_any_proxy_that_the_live_release_is_irreversible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    kept = {"color": "blue", "revision": V1, "run_id": "p", "at": 1.0}
    check.run()
    assert check.said["plan"]["irreversible"] is None
    check.statuses["lb-2"] = status(confirmed={**kept, "irreversible": "drops it", "judged": True})
    check.run()
    assert check.said["plan"]["irreversible"] == "drops it"
    check.statuses["lb-2"] = status(confirmed={**kept, "color": "green", "irreversible": "drops it"})
    check.run()
    assert check.said["plan"]["irreversible"] is None


def test_a_rollback_may_go_to_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.age = Age(V1, 3, is_older=True)
    assert check.run() == ["198.18.0.4"]


def test_where_proxies_disagree_a_rollback_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.statuses["lb-2"] = status("green", pending=answer()["pending"])
    check.run()
    assert check.said["plan"]["live"] == Color.BLUE


def test_an_unconfirmed_switch_that_came_back_is_told_until_the_next_one_is_confirmed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch)
    last = {**answer()["last_revert"], "at": 1_790_000_000.0}
    check.statuses["lb-1"] = status(last_revert=last)
    check.run()
    [warning] = check.said["plan"]["warnings"]
    assert (
        warning == "an unconfirmed switch by q was taken back from green to blue at 2026-09-21 14:13 UTC: x"
    )
    check.statuses["lb-1"] = status(
        last_revert=last, confirmed={"color": "blue", "revision": V1, "run_id": "p", "at": last["at"] + 60}
    )
    check.run()
    assert check.said["plan"]["warnings"] == []


def went_back(run_id: str, **changes: Any) -> ProxyStatus:
    return status(last_revert={**answer()["last_revert"], "run_id": run_id, **changes})


def test_a_rollback_does_not_send_traffic_to_what_it_has_just_come_back_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.statuses["lb-2"] = went_back("bluegreen_deploy__my_perl_app/r")
    with pytest.raises(AirflowSkipException, match=r"traffic is back on blue already: .*deploy__my_perl_app"):
        check.run()
    assert check.said["nothing_to_do"]["outcome"] == "already live"
    assert check.run(revision=V2) == ["198.18.0.4"]
    assert check.run(live="blue") == ["198.18.0.4"]


def test_a_rollback_does_its_work_whatever_a_clock_has_said_that_was_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    kept = {"color": "blue", "revision": V1, "run_id": "p", "at": 1000.0, "token": 9}
    check.statuses["lb-2"] = status(
        last_revert={**answer()["last_revert"], "at": 4600.0, "token": 7}, confirmed=kept
    )
    assert check.run() == ["198.18.0.4"]


def test_proxies_of_which_one_went_back_and_one_did_not_are_made_to_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.statuses["lb-1"] = went_back("bluegreen_deploy__my_perl_app/r")
    check.statuses["lb-2"] = status("green")
    check.run()
    assert check.said["plan"]["live"] == Color.BLUE


def test_traffic_that_came_back_to_nothing_is_not_back(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, goes_back=True)
    nothing = status(None, idle="blue", last_revert={**answer()["last_revert"], "from": "blue", "to": None})
    check.statuses = {"lb-1": nothing, "lb-2": nothing}
    check.run()
    assert check.said["plan"]["live"] is None


@pytest.mark.parametrize(
    ("run_id", "changes"),
    [
        ("bluegreen_rollback__my_perl_app/r", {}),
        ("bluegreen_deploy__my_perl_app/r", {"refused": True}),
        ("bluegreen_deploy__my_perl_app/r", {"from": "blue", "to": "green"}),
    ],
    ids=["a rollback's own", "one that failed", "the other way"],
)
def test_other_switches_that_were_taken_back_keep_no_rollback_from_its_work(
    monkeypatch: pytest.MonkeyPatch, run_id: str, changes: dict[str, Any]
) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.statuses["lb-1"] = went_back(run_id, **changes)
    assert check.run() == ["198.18.0.4"]


def test_a_rollback_goes_on_whatever_is_wrong_with_droplets_that_proxies_judge_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.fleet = FLEET.model_copy(update={"blue": (FLEET.blue[0].model_copy(update={"status": "off"}),)})
    check.facts["green-1"] = facts(disk_free_mb=3)
    assert check.run() == ["198.18.0.4"]
    assert any("green-1" in warning and "3 MB" in warning for warning in check.said["plan"]["warnings"])
    with pytest.raises(AirflowFailException, match=r"green-1.*only 3 MB"):
        check.run(revision=V2)


KEPT = {"color": "blue", "revision": V1, "run_id": "bluegreen_rollback__my_perl_app/r", "at": 1.0}


def test_a_second_rollback_does_not_send_traffic_to_the_bad_release_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.statuses = {"lb-1": status(confirmed=KEPT), "lb-2": status(confirmed=KEPT)}
    with pytest.raises(
        AirflowSkipException, match=r"traffic is back on blue already: .*rollback__my_perl_app/r"
    ):
        check.run()
    assert check.run(revision=V2) == ["198.18.0.4"]
    for changed in (
        {"confirmed": {**KEPT, "run_id": "bluegreen_deploy__my_perl_app/r"}},
        # Years later, and what it had gone back to answers nobody.
        {"confirmed": KEPT, "up": False},
    ):
        check.statuses["lb-2"] = status(**changed)
        assert check.run() == ["198.18.0.4"]


def test_the_plan_knows_what_was_kept_last_on_the_idle_color(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    kept = good("c" * 40, "green-1")
    check.statuses["lb-2"] = status(good={"blue": good(V1), "green": kept})
    check.run()
    assert check.said["plan"]["good"] == kept
    # A proxy that knows of another revision, or of another configuration of the same one.
    for other in (good(V2, "green-1"), {**kept, "configuration": "e" * 64}):
        check.statuses["lb-1"] = status(good={"green": other})
        check.run()
        assert check.said["plan"]["good"] is None
