"""Runs whose tasks have sealed what they found and did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet
from bluegreen.operators.support.seals import LockSeals, Seals
from bluegreen.release.jobs import StartedPairing
from bluegreen.release.release import pairing
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app import App
from bluegreen.traffic.agent_answers import GoodRelease, StartedRelease
from tests.started import good
from tests.unit.fleets import GREEN, LB, ONE_EACH, droplet
from tests.unit.repositories import app_of
from tests.unit.runs import Run

GOOD, EVIL = "a" * 40, "e" * 40
LOCK = HeldLock(proxies=(LB,), tokens={"lb-1": 7})
LATER = LOCK.model_copy(update={"tokens": {"lb-1": 8}})
NOW = datetime(2026, 11, 30, tzinfo=UTC)
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH)
BASELINE: dict[str, Any] = {"samples": [], "unproven": []}
SWITCHED = {"lb-1": {"from": "blue", "to": "green", "milliseconds": 4.5, "at": 1764500000.25}}
RESULTS = {"preview_check": BASELINE, "switch_traffic": SWITCHED, "final_validation": {"bake_seconds": 10.0}}
OTHER_GOOD = {"good": GoodRelease.model_validate(good(EVIL))}
APP: App = app_of("https://example.com/shop.git", approval="always")


def checked(run: Run, lock: HeldLock = LOCK, plan: Plan = PLAN) -> Run:
    """Let the tasks before the switch have done their work."""
    first = run.task_id
    Seals(run.this, APP).seal_revision(GOOD)
    run.task_id = "provision_check"
    LockSeals(run.this, APP, lock).seal_plan(None if first == "previous_release" else GOOD, plan)
    for task_id in RESULTS:
        run.task_id = task_id
        LockSeals(run.this, APP, lock).seal_result(GOOD, RESULTS[task_id])
    return run


TWO = PLAN.model_copy(update={"fleet": ONE_EACH.model_copy(update={"green": (GREEN, droplet(9, "green-2"))})})
RELEASE, CONFIGURED = f"{GOOD}-{'d' * 16}", "c" * 64
ARTIFACT = {"name": f"{'d' * 64}.tar.gz", "sha256": "5" * 64, "size": 10}
BUILT = {
    **{"release": RELEASE, "digest": "d" * 64, "revision": GOOD, "artifact": ARTIFACT},
    **{"key": "b" * 64, "configuration": CONFIGURED},
}


def started_on(droplet: Droplet, **changes: str) -> StartedPairing:
    """What a deploy of this run starts there."""
    made = pairing(APP, RELEASE, CONFIGURED, str(droplet.private))
    return StartedPairing.model_validate({**made.as_json, **changes})


def deployed(run: Run, *started: tuple[str, StartedPairing], lock: HeldLock = LOCK) -> Run:
    """Let instances of the mapped task have started something on droplets, in this order."""
    goes_back = run.task_id == "previous_release"
    checked(run, lock, TWO)
    pairings = {one.name: started_on(one).pairing for one in TWO.idle_droplets}
    about = {"release": RELEASE, "configuration": CONFIGURED, "pairings": pairings}
    result = {**about, "confirmed": True, "is_running": False} if goes_back else BUILT
    run.task_id = "previous_release" if goes_back else "build"
    run.xcoms[run.task_id, "previous" if goes_back else "return_value"] = result
    LockSeals(run.this, APP, lock).seal_result(GOOD, result)
    run.task_id = "restore" if goes_back else "deploy"
    for run.map_index, (name, one) in enumerate(started):
        LockSeals(run.this, APP, lock).seal_started(GOOD, name, one)
    run.map_index = -1
    return run


BOTH = [(one.name, started_on(one)) for one in TWO.idle_droplets]
WHOLE = StartedRelease(
    release=RELEASE, configuration=CONFIGURED, pairings={name: one.pairing for name, one in BOTH}
)


def task_of(kind: type[Any], hook: Any, **fields: Any) -> Any:
    task: Any = kind(
        task_id="task", app_id="my_perl_app", lock=LOCK.model_dump(mode="json"), revision=GOOD, **fields
    )
    task.__dict__["app"] = app_of("https://example.com/shop.git")
    task.__dict__["proxies"] = lambda: hook
    return task


def approved(run: Run, revision: str = GOOD, lock: HeldLock = LOCK) -> Run:
    run.task_id = "approval"
    LockSeals(run.this, APP, lock).seal_approval(revision, "alice", NOW)
    return run


def renamed(run: Run) -> Run:
    """Put the answers of one run into another."""
    other = Run()
    other.xcoms = run.xcoms
    return other
