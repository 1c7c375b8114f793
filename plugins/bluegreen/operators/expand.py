"""Running the expand phase of a migration on one idle droplet, before traffic moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.droplet_job import IdleDropletJobOperator, JobGoneError
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.started import require_started
from bluegreen.operators.support.this_run import MIGRATION_KEY
from bluegreen.release.jobs import JobState
from bluegreen.release.migrations import Migration, Phase, migration_program, migration_unit, seconds_of
from bluegreen.release.release import failure_cause
from bluegreen.settings.app import App

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import StartedRelease


class ExpandOperator(IdleDropletJobOperator):
    """Run ``migrations.expand`` once, with the new release on the first idle droplet."""

    kind = Phase.EXPAND.value
    _started: StartedRelease

    @property
    def droplet(self) -> Droplet:
        """The first idle droplet, in the order of the fleet."""
        return self.run_plan.idle_droplets[0]

    @property
    def unit(self) -> str:
        """The job's name."""
        return migration_unit(self.app_id, Phase.EXPAND, self.revision)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that every idle droplet runs what this run's own tasks have built.

        :raises PolicyError: if that is not proven.
        """
        super().require_seals(run)
        self._started = require_started(run, self.seals(run), self.app, self.revision, self.run_plan)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Migration`; what ran is left for the report also if a command failed.

        :raises BlueGreenError: with the command and its last words.
        :raises JobGoneError: if the job vanished; the commands can be run again.
        """
        proxies, started = self.idle_proxies(), self._started
        name, log = self.droplet.label, JobLog(self.log)
        address, limit = str(self.droplet.private), seconds_of(self.app, Phase.EXPAND)
        program = migration_program(self.app, Phase.EXPAND, started.release, started.configuration, address)
        with self.job() as job:
            with refusals_explained(proxies):
                job.start(run.run_id, program, limit)
            report = self._follow(job, log, proxies)
            migration = Migration.of(Phase.EXPAND, self.droplet.name, report)
            result = migration.model_dump(mode="json")
            run.push(MIGRATION_KEY, result)
            if report.state is JobState.MISSING:
                raise JobGoneError(f"{name}: its expand job is gone (stopped, or the droplet was restarted)")
            self._clean(job)
        if report.state is not JobState.SUCCESS:
            cause = failure_cause(tuple(log.last)) or f"its expand job ended with {report.result}"
            raise BlueGreenError(f"{name}: {cause}")
        self.log.info("%s", migration)
        self.seals(run).seal_result(self.revision, result)
        return result


def expand(app: App, **given: Any) -> list[ExpandOperator]:
    """Return the task ``expand`` as a list of one; an empty list if the app has no commands for it.

    :param given: what the task is given by others: ``lock``, ``plan`` and ``revision``.
    """
    return [ExpandOperator(task_id=Phase.EXPAND.value, **given)] if app.migrations.expand else []
