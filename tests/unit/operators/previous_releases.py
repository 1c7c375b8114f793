"""What a rollback by hand finds on a fleet, and what it goes back to."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped

from bluegreen.checks.facts import AppServer
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.operators import previous_release
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.traffic.agent_answers import GoodRelease
from tests.unit.fleets import DIGEST, V1, V2, droplet, facts, healthy, released
from tests.unit.fleets import FLEET as ONE_EACH

FLEET = ONE_EACH.model_copy(update={"green": (droplet(4, "green-1"), droplet(5, "green-2"))})
LOCK = HeldLock(proxies=FLEET.proxies, tokens={"lb-1": 7}).model_dump(mode="json")
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")
NAMES = ("green-1", "green-2")
SKIPPED = ["drain", "restore"]
EVERYWHERE = ["198.18.0.4", "198.18.0.5"]


def there(*revisions: str, configuration: str = DIGEST, name: str = "green-1", **changes: Any) -> AppServer:
    """A droplet that has a release of each of these revisions; each was healthy there."""
    releases = tuple(map(released, revisions))
    address = {"green-1": "198.19.0.4", "green-2": "198.19.0.5"}[name]
    known = [healthy(one, configuration, **{"address": address, **changes}) for one in releases]
    return facts(V2, releases=releases, activated=tuple(known))


def both(*revisions: str, **changes: Any) -> list[AppServer]:
    """Both droplets, with releases of these revisions that were healthy there."""
    return [there(*revisions, name=name, **changes) for name in ("green-1", "green-2")]


def confirmed(revision: str, configuration: str = DIGEST) -> GoodRelease:
    """What the proxies have kept for green."""
    one = healthy(released(revision), configuration)
    about = {"revision": revision, "release": one.release, "configuration": configuration}
    return GoodRelease.model_validate({**about, "pairings": dict.fromkeys(NAMES, one.pairing)})


class Ti:
    """A task instance that remembers what was pushed."""

    task_id, run_id = "previous_release", "manual__1"
    map_index = -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def go_back(
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
    *,
    on_droplets: list[AppServer],
    good: GoodRelease | None = None,
    running: str | BlueGreenError = V2,
    started: Mapping[str, str | None] | None = None,
    irreversible: str | None = None,
    i_know: bool = False,
) -> tuple[Any, str | None, list[str], Any]:
    """Return the droplets to start it on, the revision, the skipped tasks, and what is started.

    :param started: the pairings that the droplets run; default: that of the revision that answers.
    """
    with DAG("rollback", schedule=None) as dag:
        task: Any = previous_release.PreviousReleaseOperator(
            app_id="my_perl_app",
            task_id="previous_release",
            lock=LOCK,
            plan={**PLAN, "good": good and good.model_dump(mode="json"), "irreversible": irreversible},
            activation=["drain", "restore"],
        )
        task >> [EmptyOperator(task_id="drain"), EmptyOperator(task_id="restore")]
    if started is None:
        started = dict.fromkeys(NAMES, healthy(released(str(running))).pairing)
    monkeypatch.setattr(type(task), "_claim", lambda self, droplets: started)
    named = dict(zip(NAMES, on_droplets, strict=True))
    monkeypatch.setattr(
        previous_release, "ask_app_server", lambda _app, one: SimpleNamespace(answer=named[one.name])
    )

    def runs(_task: Any, _plan: Plan) -> str:
        if isinstance(running, BlueGreenError):
            raise running
        return running

    monkeypatch.setattr(type(task), "_running", runs)
    ti = Ti()
    try:
        found = task.execute(
            {
                **{"ti": ti, "dag": dag, "params": {"revision": revision, "i_know": i_know}},
                "dag_run": SimpleNamespace(dag_id="rollback", run_id=ti.run_id),
            }
        )
        skipped: list[str] = []
    except DownstreamTasksSkipped as skip:
        found, skipped = ti.pushed["return_value"], [str(one) for one in skip.tasks]
    return found, ti.pushed.get("revision"), skipped, ti.pushed.get("previous")


def target(
    revision: str, configuration: str = DIGEST, *, confirmed: bool, is_running: bool
) -> dict[str, Any]:
    """What is found, as the XCom ``previous``."""
    one = healthy(released(revision), configuration)
    return {
        "release": one.release,
        "configuration": configuration,
        "pairings": dict.fromkeys(NAMES, one.pairing),
        "confirmed": confirmed,
        "is_running": is_running,
        "from_store": [],
    }


Records = list[tuple[str, str]]
LIVE_ONCE: Records = [("refused before the switch", V2), ("live and confirmed", V2)]
TAKEN_BACK: Records = [("live and confirmed", V1), ("rolled back", V2)]
