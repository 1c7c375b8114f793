"""What a run finds out before it changes anything, and when it stops there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from bluegreen.checks.facts import AppServer, Unit
from bluegreen.checks.gather.expected import unit_path
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators import provision_check
from bluegreen.release.release import service_unit
from bluegreen.run.plan import Plan
from bluegreen.settings.app_file import load_app
from bluegreen.source.policy import Age
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.started import good
from tests.unit.agent_status import answer
from tests.unit.artifacts import PERL, kept
from tests.unit.fleets import FLEET, V1, V2, facts, healthy, released
from tests.unit.provision import Check
from tests.unit.runs import APP
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")


def test_it_returns_whom_to_deploy_to(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    assert check.run() == ["198.18.0.4"]
    assert (check.said["plan"]["live"], check.said["plan"]["idle"]) == ("blue", "green")


def test_a_revision_that_may_not_be_deployed_any_more_gets_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may be cleared, from its lock on, after the settings or the branches have changed."""
    check = Check(monkeypatch, revision=V2)

    def forbidden(_app: Any, ref: str, **_: Any) -> None:
        raise PolicyError(f"{ref[:12]} may not be deployed")

    monkeypatch.setattr(provision_check, "resolve", forbidden)
    with pytest.raises(AirflowFailException, match="bbbbbbbbbbbb may not be deployed"):
        check.run()
    assert "plan" not in check.said
    # What a rollback goes back to was allowed when it went live.
    assert Check(monkeypatch, goes_back=True).run() == ["198.18.0.4"]


def test_a_proxy_that_cannot_be_read_does_not_hide_a_droplets_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch)
    check.statuses["lb-2"] = BlueGreenError("lb-2 cannot be reached")
    check.facts["green-1"] = facts(disk_free_mb=3)
    with pytest.raises(AirflowFailException, match=r"lb-2 cannot be reached; green-1.*only 3 MB of disk"):
        check.run()


def test_an_idle_droplet_without_room_for_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch)
    check.facts["green-1"] = facts(inodes_free=4999)
    with pytest.raises(
        AirflowFailException, match=r"green-1.*room for only 4999 more files, 5000 are needed"
    ):
        check.run()


def test_a_proxy_without_haproxy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch)
    haproxy = {"version": "0.0", "running": False, "config_sha256": None, "workers": 0}
    check.statuses["lb-1"] = status(haproxy=haproxy)
    with pytest.raises(AirflowFailException, match=r"lb-1.*: HAProxy is not installed"):
        check.run()


def live(
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    *,
    configuration: str | None = None,
    digit: str = "1",
    perl: str = PERL,
) -> Check:
    """A check of a revision that is live, and was built as it would be now unless a test says otherwise.

    :param configuration: what it runs with; default: what a deploy would deliver.
    :param digit: which artifact of it is live.
    :param perl: of the builder.
    """
    kept(monkeypatch, directory, digest="1" * 64)
    check = Check(monkeypatch, revision=V1)
    digest = configuration or configuration_of(load_app(APP), {})["digest"]
    known: dict[str, Any] = {"releases": (released(V1, digit),), "current": released(V1, digit)}
    app, [blue] = load_app(APP), FLEET.blue
    unit = service_unit(app, released(V1, digit), digest, str(blue.private))
    known["files"] = {unit_path(app): unit}
    check.facts["blue-1"] = facts(V1, configuration=UsedConfiguration(digest=digest), **known)
    check.facts["green-1"] = facts(V2, perl_key=perl)
    monkeypatch.setattr(provision_check, "expected_config", lambda _facts: CONFIG)
    for name in check.statuses:
        check.statuses[name] = status(haproxy=running_config())
    return check


CONFIG = "global\n"


def running_config(**changes: str | None) -> dict[str, Any]:
    """HAProxy as a deploy leaves it."""
    digest = hashlib.sha256(CONFIG.encode()).hexdigest()
    known = {"version": "2.6.12", "running": True, "config_sha256": digest, "file_sha256": digest}
    return {**known, **changes}


def test_what_is_live_everywhere_and_healthy_is_not_deployed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = live(monkeypatch, tmp_path)
    with pytest.raises(AirflowSkipException, match=r"every droplet of blue runs aaaaaaaaaaaa"):
        check.run()
    assert check.said["nothing_to_do"]["outcome"] == "already live"
    assert check.run(force=True) == ["198.18.0.4"]


@pytest.mark.parametrize("changed", [{"configuration": "e" * 64}, {"digit": "2"}, {"perl": "another perl"}])
def test_a_revision_that_is_live_is_deployed_with_another_environment_or_built_in_another_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str]
) -> None:
    assert live(monkeypatch, tmp_path, **changed).run() == ["198.18.0.4"]


def test_a_store_that_is_away_stops_a_deploy_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = live(monkeypatch, tmp_path)
    path = tmp_path / "cache/artifacts" / APP / "by_key"
    path.rename(tmp_path / "away")
    path.write_bytes(b"")
    with pytest.raises(AirflowFailException, match=r"the artifact store .* cannot be read"):
        check.run()


def test_the_plan_says_what_is_built_for_and_which_artifacts_have_to_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V2)
    activated = (healthy(released(V2, "2")), healthy(released(V1, "4")))
    check.facts["green-1"] = facts(V2, perl_key=PERL, activated=activated)
    for name in ("lb-1", "lb-2"):
        check.statuses[name] = status(good={"green": good(V2, "green-1", release=released(V2, "3"))})
    check.run()
    plan = Plan.model_validate(check.said["plan"])
    assert plan.perl_key == PERL
    assert plan.in_use == tuple(sorted([released(V1), released(V2), released(V2, "3")]))


def test_the_artifacts_of_what_was_confirmed_have_to_stay_while_droplets_are_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision="d" * 40)
    check.facts["blue-1"] = BlueGreenError("blue-1 cannot be reached")
    known = {"green": good(V2, release=released(V2)), "blue": good(V1, release=released(V1, "5"))}
    check.statuses["lb-1"] = status(good={**known, "green": good(V2, release=released(V2, "9"))})
    check.statuses["lb-2"] = status(good=known)
    check.run()
    plan = Plan.model_validate(check.said["plan"])
    there = {released(V1), released(V1, "5"), released(V2), released(V2, "9")}
    assert set(plan.in_use) == there


@pytest.mark.parametrize("change", [{"workers": 7}, {"memory_max": "512M"}, {"stop_timeout": 90}])
def test_what_is_live_with_another_unit_than_the_settings_ask_for_is_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any]
) -> None:
    """The dry run warns of that, and promises that the next deploy writes the unit."""
    check = live(monkeypatch, tmp_path)
    app = load_app(APP)
    server = app.server.model_copy(update=change)
    check.task.__dict__["app"] = app.model_copy(update={"server": server})
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("blue-1", {"configuration": {"problem": "its files are not as they were delivered"}}),
        ("blue-1", {"files": {}}),
        ("lb-2", {"config_sha256": "e" * 64}),
        ("lb-2", {"config_sha256": None}),
        ("lb-2", {"file_sha256": "e" * 64}),
    ],
    ids=["damaged configuration", "no unit", "other settings", "loaded by hand", "edited by hand"],
)
def test_what_is_live_with_files_that_the_next_deploy_would_write_is_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    check = live(monkeypatch, tmp_path)
    if name == "lb-2":
        check.statuses[name] = status(haproxy=running_config(**changes))
    else:
        known = check.facts[name]
        assert isinstance(known, AppServer)
        assert known.configuration
        used = known.configuration.model_copy(update=changes.pop("configuration", {}))
        check.facts[name] = known.model_copy(update={"configuration": used, **changes})
    assert check.run() == ["198.18.0.4"]


def test_a_revision_that_is_older_than_what_is_live_is_refused_unless_it_is_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V2)
    check.age = Age(V1, 3, is_older=True)
    refusal = rf"older than live \({V1[:12]}\) by 3 commits \(setting policy\.allow_older: asked\)"
    with pytest.raises(AirflowFailException, match=refusal):
        check.run()
    assert check.run(allow_older=True) == ["198.18.0.4"]
    assert check.said["plan"]["older"] == f"older than live ({V1[:12]}) by 3 commits"


def test_a_rollback_may_go_to_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, goes_back=True)
    check.age = Age(V1, 3, is_older=True)
    assert check.run() == ["198.18.0.4"]


def test_what_is_live_by_a_map_that_the_next_haproxy_would_not_have_is_deployed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V1)
    check.statuses["lb-2"] = status(consistent=False)
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blue-1", facts(V2)),
        ("blue-1", facts(unit=Unit(ActiveState="failed"))),
        ("blue-1", BlueGreenError("blue-1 cannot be reached")),
        ("lb-2", status(up=False)),
        ("lb-2", status(live=None)),
        ("lb-2", status(confirmed=None)),
    ],
    ids=["another revision", "not running", "unreachable", "sick", "not everywhere", "not confirmed"],
)
def test_what_is_not_live_everywhere_and_healthy_is_deployed(
    monkeypatch: pytest.MonkeyPatch, name: str, said: Any
) -> None:
    check = Check(monkeypatch, revision=V1)
    (check.statuses if name.startswith("lb") else check.facts)[name] = said
    assert check.run() == ["198.18.0.4"]


def test_where_proxies_disagree_a_deploy_wants_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    check.statuses["lb-2"] = status("green")
    with pytest.raises(AirflowFailException, match="lb-1: blue, lb-2: green"):
        check.run()
    assert check.run(live="green") == ["198.18.0.3"]
    assert check.run(live="blue") == ["198.18.0.4"]


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


def test_a_run_that_is_cleared_in_its_bake_plans_nothing_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    lock = {"owner": "me", "run_id": "deploy/run", "ref": "v2", "since": 1.0, "until": 2.0, "token": 7}
    pending = {"from": "blue", "to": "green", "revision": V2, "run_id": "deploy/run", "deadline": 9.0}
    check.statuses["lb-2"] = status("green", lock=lock, pending={**pending, "token": 7})
    check.statuses["lb-1"] = status("green")
    with pytest.raises(AirflowFailException, match="this run has moved traffic already"):
        check.run()
    # What another run, or this one before it was cleared as a whole, has left is its timer's.
    check.statuses["lb-2"] = status("green", lock=lock, pending={**pending, "token": 6})
    assert check.run() == ["198.18.0.3"]


def test_a_gradual_shift_by_hand_stops_a_deploy_but_no_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch)
    check.statuses["lb-2"] = status(map_running={"live": "blue", "idle": "green", "idle_share": 20})
    with pytest.raises(AirflowFailException, match=r"green is given 20 % of the requests \(idle_share"):
        check.run()
    check.task.goes_back = True
    assert check.run() == ["198.18.0.4"]
