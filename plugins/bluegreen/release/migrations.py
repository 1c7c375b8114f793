"""The migrations of an app: what a phase runs on a droplet, and what has been run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.migration import STATUS_SECONDS, MigrateRequest
from agent.protocol import Configuration, Program, SentFile, Step, Verb
from agent.release_name import revision_of
from bluegreen.release.jobs import JobReport
from bluegreen.release.release import deploy_program, load_request
from bluegreen.release.services import services_steps
from bluegreen.release.system_names import system_name
from bluegreen.settings.app import App

# Seconds beyond `migrations.timeout` that a command has to end, and that its job takes itself.
MARGIN = 30
# Seconds for a deploy or build of the app on the droplet to end before a job has its turn.
TURN = 60


class Phase(StrEnum):
    """The phases of a migration; each is a key of the setting ``migrations``, and a task."""

    EXPAND = "expand"
    CONTRACT = "contract"


class RanCommand(BaseModel):
    """A command of a phase, or a one-off command, that has ended.

    :param command: the beginning of its text; the program alone of a one-off command.
    :param began: by the droplet's clock.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    command: str
    began: datetime
    seconds: float
    exit_status: int

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self:
        """Make it from a droplet's answer.

        :raises ValueError: or another error of its fields, if it is none.
        """
        began = datetime.fromtimestamp(round(answer["began"], 3), UTC)
        return cls.model_validate({**answer, "began": began, "seconds": round(answer["seconds"], 1)})


class Migration(BaseModel):
    """What a run has run of a phase; also the XCom of the phase's task.

    :param droplet: where; the commands ran nowhere else.
    :param ran: the commands in their order, up to the first one that failed.
    :param before: what was pending before the first one, in words; empty if that is not known.
    :param after: what was pending after the last one, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    phase: Phase
    droplet: str
    ran: tuple[RanCommand, ...] = ()
    before: str = ""
    after: str = ""

    @classmethod
    def of(cls, phase: Phase, droplet: str, report: JobReport) -> Self:
        """Make it from the end of the phase's job; without an answer that can be used nothing is known."""
        answer = report.answers.get(Verb.MIGRATE.value)
        found = answer if isinstance(answer, Mapping) else {}
        try:
            return cls(
                phase=phase,
                droplet=droplet,
                ran=tuple(map(RanCommand.of, found.get("ran", ()))),
                before=found.get("before", ""),
                after=found.get("after", ""),
            )
        except (ValidationError, ValueError, TypeError, KeyError, OverflowError):
            return cls(phase=phase, droplet=droplet)

    def __str__(self) -> str:
        """Return in words what ran and succeeded; empty if nothing did."""
        done = [f"{one.command} ({one.seconds:.0f} s)" for one in self.ran if one.exit_status == 0]
        pending = f" ({self.before} before, {self.after} after)" if self.before and self.after else ""
        return f"{self.phase} ran {' and '.join(done)} on {self.droplet}{pending}" if done else ""


def migration_unit(app_id: str, phase: Phase, revision: str) -> str:
    """Name of the transient unit of a phase: ``bluegreen-app-shop-expand-0123456789ab``."""
    return f"bluegreen-{system_name(app_id)}-{phase}-{revision[:12]}"


def migration_program(
    app: App,
    phase: Phase,
    release: str,
    digest: str,
    artifact: SentFile | None,
    configuration: Configuration,
    address: str,
) -> Program:
    """Return what a droplet's job does in a phase: install a release, and run the phase's commands with it.

    A release that is new is loaded before its commands run: one that does not even load, or that does not
    reach the app's backing services, migrates nothing.
    Nothing is started, and what runs on the droplet goes on.

    :param digest: of the release's manifest.
    :param artifact: in the directory ``incoming``; ``None`` if the release is there already.
    :param configuration: what the release runs with.
    :param address: the droplet's private address.
    """
    unit = migration_unit(app.id, phase, revision_of(release))
    install = deploy_program(app, release, digest, artifact, configuration, address, "")["steps"][0]
    load = load_request(app, unit, release, configuration["digest"], address)
    migrate: MigrateRequest = {
        "app": system_name(app.id),
        "unit": unit,
        "release": release,
        "phase": phase.value,
        "commands": commands_of(app, phase),
        "status": _status_of(app, phase),
        "properties": load["properties"],
        "timeout": float(app.migrations.timeout),
    }
    steps: list[Step] = [{"verb": install["verb"], "request": {**install["request"], "unit": unit}}]
    if phase is Phase.EXPAND:
        steps += [{"verb": Verb.LOAD.value, "request": {**load}}, *services_steps(app, load)]
    return {"steps": [*steps, {"verb": Verb.MIGRATE.value, "request": {**migrate}}]}


def commands_of(app: App, phase: Phase) -> list[list[str]]:
    """Return the commands of a phase; none if the app's file has none."""
    found: list[list[str]] = getattr(app.migrations, phase.value)
    return found


def seconds_of(app: App, phase: Phase) -> int:
    """Return the seconds after which systemd ends the job of a phase, whatever its commands do.

    Installing and loading the release may take as long as in a deploy.
    """
    status = 2 * (STATUS_SECONDS + MARGIN) if _status_of(app, phase) else 0
    return (
        TURN + app.timeouts.build + status + len(commands_of(app, phase)) * (app.migrations.timeout + MARGIN)
    )


def _status_of(app: App, phase: Phase) -> list[str] | None:
    """Return the command that reports what is pending for a deploy; it does not know about a contract."""
    return app.migrations.status if phase is Phase.EXPAND else None
