"""What a run's tasks have started on the idle droplets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.operators.support.this_run import PREVIOUS_KEY, left_as
from bluegreen.release.artifact import BuiltArtifact
from bluegreen.release.release import pairing
from bluegreen.run.previous import PreviousRelease
from bluegreen.traffic.agent_answers import StartedRelease

if TYPE_CHECKING:
    from bluegreen.operators.support.seals import LockSeals
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.run.plan import Plan
    from bluegreen.settings.app import App


def require_started(run: ThisRun, seals: LockSeals, app: App, revision: str, plan: Plan) -> StartedRelease:
    """Return what runs on every idle droplet, once each has the seal of the task that started it there.

    :raises PolicyError: naming the first droplet that has no such seal, or runs something else.
    """
    if "build" not in run.task_ids:
        return _restored(run, seals, revision)
    found = run.output("build")
    seals.require_result("build", revision, found)
    built = left_as(BuiltArtifact, found)
    wanted = StartedRelease(
        release=built.release,
        configuration=built.configuration,
        pairings={
            one.name: pairing(app, built.release, built.configuration, str(one.private)).digest
            for one in plan.idle_droplets
        },
    )
    seals.require_started("deploy", revision, wanted)
    return wanted


def _restored(run: ThisRun, seals: LockSeals, revision: str) -> StartedRelease:
    found = run.output("previous_release", PREVIOUS_KEY)
    seals.require_result("previous_release", revision, found)
    previous = left_as(PreviousRelease, found)
    if not previous.is_running:
        seals.require_started("restore", revision, previous)
    return StartedRelease(**previous.model_dump(include=set(StartedRelease.model_fields)))
