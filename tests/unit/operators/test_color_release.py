"""A droplet that is new, or was rebuilt, gets what the others of its color run, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.checks import color_release as rule
from bluegreen.checks.facts import AppServer
from bluegreen.checks.gather.expected import expected_unit, unit_path
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators import color_release
from bluegreen.operators.support import asking_fleet, stored_release
from bluegreen.release.release import pairing
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit import facts as calm
from tests.unit.artifacts import RELEASE, kept
from tests.unit.fleets import DIGEST, FLEET, V2, droplet, facts, healthy, released
from tests.unit.my_app import app_with
from tests.unit.runs import APP, LOCK, REVISION
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting", "proxies")

NEW_BLUE, NEW_GREEN = droplet(5, "blue-2"), droplet(6, "green-2")
BIGGER = FLEET.model_copy(
    update={"blue": (*FLEET.blue, NEW_BLUE), "green": (*FLEET.green, NEW_GREEN)},
)


def runs(one: Droplet, release: str = RELEASE, problem: str | None = None, **changes: Any) -> AppServer:
    """What a droplet says that runs a release as a deploy would install it now."""
    digest = changes.pop("configuration", None) or configuration_of(load_app(APP), {})["digest"]
    unit = expected_unit(load_app(APP), one, release, digest)
    known = {
        "current": release,
        "activated": (healthy(release, digest),),
        "configuration": UsedConfiguration(digest=digest, problem=problem),
        "files": {unit_path(load_app(APP)): unit},
    }
    return facts(**{**known, **changes})


class Finder:
    """The task over a fleet, in which two droplets are new, that answers as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.task: Any = color_release.ColorReleaseOperator(task_id="color_release", app_id=APP, lock=LOCK)
        blue, green = FLEET.blue[0], FLEET.green[0]
        self.statuses: dict[str, ProxyStatus | BlueGreenError] = dict.fromkeys(("lb-1", "lb-2"), status())
        self.servers: dict[str, AppServer | BlueGreenError] = {
            "blue-1": runs(blue),
            "green-1": runs(green),
            "blue-2": facts(None),
            "green-2": facts(None),
        }
        self.said: dict[str, Any] = {}
        monkeypatch.setattr(self.task, "read_fleet", lambda: BIGGER)
        monkeypatch.setattr(asking_fleet.AsksFleet, "_status", lambda _, one: self.statuses[one.name])
        monkeypatch.setattr(asking_fleet.AsksFleet, "_facts", lambda _, one: self.servers[one.name])

    def run(self) -> list[str]:
        """Return who gets what."""
        ti = SimpleNamespace(
            task_id="color_release", xcom_push=lambda key, value: self.said.update({key: value})
        )
        run, dag = SimpleNamespace(dag_id="provision", run_id="run"), SimpleNamespace(task_ids=[])
        found = self.task.execute({"ti": ti, "params": {}, "dag_run": run, "dag": dag})
        return [f"{one['droplet']['name']} {one['release']}" for one in found]


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Finder:
    kept(monkeypatch, tmp_path)
    return Finder(monkeypatch)


def test_a_new_droplet_gets_what_the_others_of_its_color_run(finder: Finder) -> None:
    assert finder.run() == [f"blue-2 {RELEASE}", f"green-2 {RELEASE}"]
    assert "without" not in finder.said


def test_a_droplet_that_has_a_release_keeps_it(finder: Finder) -> None:
    finder.servers["blue-2"] = runs(NEW_BLUE, released(V2))
    finder.servers["green-2"] = BlueGreenError("green-2 cannot be reached")
    assert finder.run() == []


def test_a_color_without_a_release_has_none_to_give(finder: Finder) -> None:
    finder.servers["green-1"] = facts(None)
    finder.servers["blue-1"] = BlueGreenError("blue-1 cannot be reached")
    assert finder.run() == []


@pytest.mark.parametrize(
    ("sibling", "proxy"),
    [
        ({}, {"confirmed": {"color": "blue", "revision": V2, "run_id": "p", "at": 1.0}}),
        ({}, {"confirmed": None}),
        ({"activated": ()}, {}),
        ({"problem": "its files are not as they were delivered"}, {}),
    ],
    ids=["not confirmed", "never confirmed", "never healthy", "changed by hand"],
)
def test_nothing_joins_the_live_color_that_was_not_proven(
    finder: Finder, sibling: dict[str, Any], proxy: dict[str, Any]
) -> None:
    finder.servers["blue-1"] = runs(FLEET.blue[0], **sibling)
    finder.statuses = dict.fromkeys(finder.statuses, status(**proxy))
    assert finder.run() == [f"green-2 {RELEASE}"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (
            {"release": released(REVISION, "9")},
            r"the artifact store .* does not have the artifact of a+-9+; deploy",
        ),
        (
            {"configuration": "e" * 64},
            "the environment, or the files, that a{12} ran with were changed in Airflow since; deploy",
        ),
        ({"files": {}}, "in another way than the app's file says now"),
    ],
    ids=["not in the store", "another environment", "another unit"],
)
def test_a_droplet_that_cannot_get_the_very_same_stays_without_and_the_report_says_why(
    finder: Finder, changed: dict[str, Any], why: str
) -> None:
    finder.servers["blue-1"] = runs(FLEET.blue[0], **changed)
    assert finder.run() == [f"green-2 {RELEASE}"]
    assert finder.said["without"].startswith("blue-2 without a release: ")
    assert re.search(why, finder.said["without"])


def test_a_fleet_without_a_proxy_that_can_be_reached_gets_nothing(finder: Finder) -> None:
    finder.task.lock = {"proxies": [], "tokens": {}}
    assert finder.run() == []


@pytest.mark.parametrize(
    ("port", "configuration", "advice"),
    [
        (8080, DIGEST, "run bluegreen_provision__my_perl_app, which installs it from the artifact store"),
        (8080, None, "run bluegreen_provision__my_perl_app, which installs it from the artifact store"),
        (8080, "e" * 64, "deploy: the environment, or the files, that it runs with were changed in Airflow"),
        (8081, DIGEST, "deploy: the app's file has other settings now than it runs with"),
    ],
)
def test_a_dry_run_names_the_droplets_that_lack_their_colors_release(
    port: int, configuration: str | None, advice: str
) -> None:
    there = dict(zip(("blue-1", "green-1"), (*calm.FLEET.blue, *calm.FLEET.green), strict=True))
    fleet = calm.FLEET.model_copy(update={"green": (*calm.FLEET.green, calm.droplet(9, "green-2"))})
    app = load_app(APP)
    servers = {
        name: calm.server(files={unit_path(app): expected_unit(app, one, calm.R1, DIGEST)})
        for name, one in there.items()
    }
    known = calm.facts(
        app=app_with(server={"port": port}),
        fleet=fleet,
        servers={**servers, "green-2": calm.server(current=None, running=None)},
        configuration=configuration,
    )
    [found] = rule.releases(known)
    assert (found.subject, found.severity) == ("green-2", "warning")
    assert "it has not its color's release, aaaaaaaaaaaa" in found.what
    assert found.advice.startswith(advice)
    assert rule.color_release(known, Color.GREEN) is not None


def test_no_color_gets_what_was_not_confirmed_while_a_proxy_cannot_be_asked(finder: Finder) -> None:
    """It may be the one that has the traffic of the other color."""
    confirmed = {"color": "blue", "revision": REVISION, "run_id": "p", "at": 1.0}
    finder.statuses["lb-1"] = status(confirmed=confirmed)
    finder.statuses["lb-2"] = BlueGreenError("lb-2 cannot be reached")
    assert finder.run() == [f"blue-2 {RELEASE}"]


def test_a_droplet_whose_app_runs_is_left_alone(finder: Finder) -> None:
    for name in ("blue-2", "green-2"):
        finder.servers[name] = facts(None, running=RELEASE)
    assert finder.run() == []


def test_a_template_that_the_release_was_built_without_is_another_configuration(
    finder: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [{"path": "config/db.yaml", "content_from": {"template": "db.yaml"}}]
    app = app_with(files=files)
    monkeypatch.setattr(color_release.ColorReleaseOperator, "app", app)
    monkeypatch.setattr(stored_release, "templates_of", lambda _: ["db.yaml"])
    assert finder.run() == []
    assert "were changed in Airflow since" in finder.said["without"]


def test_nobody_gets_a_release_while_it_is_not_known_which_color_is_live(finder: Finder) -> None:
    finder.statuses["lb-2"] = status("green")
    assert finder.run() == []


def test_a_droplet_that_differs_from_the_settings_is_a_reason_to_wait_for_a_deploy(finder: Finder) -> None:
    finder.servers["blue-2"] = runs(NEW_BLUE, files={})
    third = droplet(7, "blue-3")
    finder.servers["blue-3"] = facts(None)
    bigger = BIGGER.model_copy(update={"blue": (*BIGGER.blue, third)})
    finder.task.read_fleet = lambda: bigger
    assert finder.run() == [f"green-2 {RELEASE}"]
    assert "blue-3 without a release: blue runs aaaaaaaaaaaa in another way" in finder.said["without"]


def good(color: str, droplets: tuple[Droplet, ...], **changes: Any) -> dict[str, Any]:
    """What the proxies have kept for a color, whose droplets had other addresses."""
    digest = configuration_of(load_app(APP), {})["digest"]
    about = {"revision": REVISION, "release": RELEASE, "configuration": digest}
    pairings = {
        one.name: pairing(load_app(APP), RELEASE, digest, str(one.private)).digest for one in droplets
    }
    return {color: {**about, "pairings": pairings, **changes}}


def test_a_color_whose_droplets_were_all_replaced_gets_what_was_confirmed_there(finder: Finder) -> None:
    finder.servers = {name: facts(None) for name in finder.servers}
    gone = (droplet(77, "green-1"), droplet(78, "green-2"))
    finder.statuses = dict.fromkeys(finder.statuses, status(good=good("green", gone)))
    assert finder.run() == [f"green-1 {RELEASE}", f"green-2 {RELEASE}"]


def test_the_live_color_gets_what_was_confirmed_only_with_the_very_unit(finder: Finder) -> None:
    finder.servers = {name: facts(None) for name in finder.servers}
    confirmed = {"color": "blue", "revision": REVISION, "run_id": "p", "at": 1.0}
    rebuilt, moved = BIGGER.blue, (droplet(77, "blue-1"), droplet(78, "blue-2"))
    for known, gets in ((rebuilt, [f"blue-1 {RELEASE}", f"blue-2 {RELEASE}"]), (moved, [])):
        answer = status(good=good("blue", known), confirmed=confirmed)
        finder.statuses = dict.fromkeys(finder.statuses, answer)
        assert finder.run() == gets
    assert "in another way than the app's file says now" in finder.said["without"]
