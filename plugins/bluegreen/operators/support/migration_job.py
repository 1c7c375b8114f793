"""What the tasks share that run a phase of a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bluegreen.errors import BlueGreenError
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.droplet_job import DropletJobOperator, JobGoneError
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.this_run import MIGRATION_KEY
from bluegreen.release.jobs import JobState
from bluegreen.release.migrations import Migration, Phase
from bluegreen.release.release import failure_cause

if TYPE_CHECKING:
    from agent.protocol import Program
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.hooks.remote_job import RemoteJob
    from bluegreen.operators.support.this_run import ThisRun


class MigrationJobOperator(DropletJobOperator):
    """A task that runs a phase of a migration on one droplet.

    :cvar phase: which one.
    """

    phase: ClassVar[Phase]

    def migrated(
        self, job: RemoteJob, run: ThisRun, program: Program, proxies: ProxiesHook, limit: int
    ) -> dict[str, Any]:
        """Start the job or attach to it, follow it to its end, and return the :class:`Migration`.

        What ran is left for the report also if a command failed. The traces of a job that succeeded stay
        until a later run claims the droplet: Airflow may lose the result, and commands must not run twice.

        :param limit: seconds after which systemd ends the job.
        :raises BlueGreenError: with the command and its last words.
        :raises JobGoneError: if the job vanished; the commands can be run again.
        """
        log, name = JobLog(self.log), self.droplet.label
        with refusals_explained(proxies):
            job.start(run.run_id, program, limit)
        report = self._follow(job, log, proxies)
        migration = Migration.of(self.phase, self.droplet.name, report)
        result = migration.model_dump(mode="json")
        run.push(MIGRATION_KEY, result)
        if report.state is JobState.MISSING:
            raise JobGoneError(
                f"{name}: its {self.phase} job is gone (stopped, or the droplet was restarted)"
            )
        if report.state is not JobState.SUCCESS:
            self._clean(job)
            cause = failure_cause(tuple(log.last)) or f"its {self.phase} job ended with {report.result}"
            raise BlueGreenError(f"{name}: {cause}")
        self.log.info("%s", migration)
        return result
