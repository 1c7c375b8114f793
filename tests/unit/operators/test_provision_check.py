"""What a run finds out before it changes anything, and when it stops there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.operators import provision_check
from bluegreen.run.plan import Plan
from bluegreen.source.policy import Age
from tests.started import good
from tests.unit.artifacts import PERL
from tests.unit.fleets import FLEET, V1, V2, droplet, facts, healthy, released
from tests.unit.my_app import app_with
from tests.unit.operators.live_release import CONFIG, live, running_config
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


IN_STEP: dict[str, Any] = {"haproxy": running_config(), "reached": ["198.18.0.1"]}


@pytest.mark.parametrize(
    ("second", "config", "rendered"),
    [
        (IN_STEP, CONFIG, True),
        (IN_STEP, "another\n", False),
        (IN_STEP, None, False),
        ({**IN_STEP, "haproxy": running_config(file_sha256="e" * 64)}, CONFIG, False),
        ({**IN_STEP, "haproxy": running_config(config_sha256=None)}, CONFIG, False),
        ({**IN_STEP, "reached": None}, CONFIG, False),
        ({**IN_STEP, "consistent": False}, CONFIG, False),
        ({**IN_STEP, "live": None}, CONFIG, False),
    ],
    ids=["in step", "settings", "no settings", "file", "reloaded by hand", "notes", "map", "new proxy"],
)
def test_it_knows_whether_the_proxies_run_what_a_deploy_would_install(
    second: dict[str, Any], config: str | None, rendered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expected(_facts: Any) -> str:
        if config is None:
            raise BlueGreenError("the password of connection 'preview' cannot be a preview key")
        return config

    monkeypatch.setattr(provision_check, "expected_config", expected)
    check = Check(monkeypatch, revision=V2)
    check.task.lock = {**check.task.lock, "tokens": {"lb-1": 7, "lb-2": 7}}
    check.statuses = {"lb-1": status(**IN_STEP), "lb-2": status(**second)}
    check.run()
    assert check.said["plan"]["rendered"] is rendered
    # A proxy that came since the lock was taken is not this run's to judge.
    check.task.lock = {**check.task.lock, "tokens": {"lb-1": 7}}
    check.run()
    assert not check.said["plan"]["rendered"]


@pytest.mark.parametrize("sessions", [0, 1])
def test_it_knows_whether_something_is_in_progress_on_the_idle_color(
    sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check(monkeypatch, revision=V2)
    check.statuses["lb-2"] = status(sessions={"blue": 9, "green": sessions})
    check.run()
    assert check.said["plan"]["drained"] is (sessions == 0)


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


def test_an_irreversible_revision_is_refused_before_anything_is_touched_unless_it_may_be_deployed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V2)
    check.age = Age(V1, 0, is_older=False, irreversible="abc: drops users.email")
    with pytest.raises(AirflowFailException, match=r"irreversible: abc: drops users.email; with migrations"):
        check.run()
    assert "plan" not in check.said
    check.task.app = app_with(migrations={"irreversible": "allow"})
    assert check.run() == ["198.18.0.4"]
    assert check.said["plan"]["irreversible"] == "abc: drops users.email"


UNREACHABLE = BlueGreenError("a droplet cannot be reached")
HEALTHY: dict[str, Any] = {"port": 8080, "up": True, "check": "L7OK"}
# The live revision according to each of two, if it has one.
KNOWN = {"the same": (V1, V1), "one": (None, V1), "none": (None, None), "two": (V1, V2)}


@pytest.mark.parametrize("running", KNOWN)
@pytest.mark.parametrize("kept", KNOWN)
def test_a_deploy_is_compared_with_what_is_live_whether_that_is_known_or_not(
    kept: str, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check(monkeypatch, revision="d" * 40)
    check.fleet = FLEET.model_copy(update={"blue": (*FLEET.blue, droplet(9, "blue-2"))})
    servers = {
        "blue": [{"address": "198.19.0.3", **HEALTHY}, {"address": "198.19.0.9", **HEALTHY}],
        "green": [],
    }
    for server, name in zip(servers["blue"], ("blue-1", "blue-2"), strict=True):
        server["name"] = name
    # A proxy that does not know has confirmed nothing yet, or has confirmed the other color last.
    for number, revision in enumerate(KNOWN[kept], 1):
        last = {"color": "blue", "revision": revision} if revision else {"color": "green", "revision": V1}
        confirmed = {**last, "run_id": "p", "at": 1.0} if revision or number == 2 else None
        check.statuses[f"lb-{number}"] = status(confirmed=confirmed, servers=servers)
    for number, revision in enumerate(KNOWN[running], 1):
        check.facts[f"blue-{number}"] = facts(revision) if revision else UNREACHABLE
    check.run()
    # The proxies know better, unless they know nothing, or contradict each other.
    is_known = kept in ("the same", "one") or running in ("the same", "one")
    assert check.compared == [V1 if is_known else None]


@pytest.mark.parametrize("irreversible", [None, "abc: drops it"])
def test_what_cannot_be_compared_is_deployed_only_if_both_may_be(
    irreversible: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = Check(monkeypatch, revision=V2)
    check.facts["blue-1"] = UNREACHABLE
    check.statuses = {name: status(confirmed=None) for name in ("lb-1", "lb-2")}
    check.age = Age(None, None, is_older=True, irreversible=irreversible)
    with pytest.raises(
        AirflowFailException, match=r"not comparable with what is live, because it is not known"
    ):
        check.run()
    if irreversible:
        with pytest.raises(AirflowFailException, match="is irreversible: abc: drops it"):
            check.run(allow_older=True)
        check.task.app = app_with(migrations={"irreversible": "allow"})
    check.run(allow_older=True)
    assert check.said["plan"]["irreversible"] == irreversible
    assert check.said["plan"]["older"].startswith("not comparable with what is live")


def test_before_the_first_deploy_there_is_nothing_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    check.statuses = {name: status(None, idle="blue") for name in ("lb-1", "lb-2")}
    check.run()
    assert check.compared == []


def test_where_proxies_disagree_a_deploy_wants_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check(monkeypatch, revision=V2)
    check.statuses["lb-2"] = status("green")
    with pytest.raises(AirflowFailException, match="lb-1: blue, lb-2: green"):
        check.run()
    assert check.run(live="green") == ["198.18.0.3"]
    assert check.run(live="blue") == ["198.18.0.4"]


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
