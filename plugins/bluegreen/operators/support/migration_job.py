"""What the tasks share that run a phase of a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.droplet_job import DropletJobOperator
from bluegreen.operators.support.job_end import remove_traces, require_success
from bluegreen.operators.support.job_log import JobLog
from bluegreen.release.jobs import JobState
from bluegreen.release.migrations import Migration, Phase

if TYPE_CHECKING:
    from agent.protocol import Program
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.seals import MigrationDone
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.settings.app import App


class MigrationJobOperator(DropletJobOperator):
    """A task that runs a phase of a migration on one droplet.

    :cvar phase: which one.
    """

    phase: ClassVar[Phase]

    def migrated(
        self, job: RemoteJob, run: ThisRun, program: Program, proxies: ProxiesHook, limit: int
    ) -> dict[str, Any]:
        """Start the job or attach to it, follow it to its end, and return the :class:`Migration`.

        What ran is left for the report also if a command failed, and where the job runs before it begins: if
        this task dies and never runs again, the report ends the job. The traces of a job that succeeded stay
        until the report removes them: Airflow may lose the result, and commands must not run twice.

        :param limit: seconds after which systemd ends the job.
        :raises BlueGreenError: with the command and its last words.
        :raises JobGoneError: if the job vanished; the commands can be run again.
        """
        log = JobLog(self.log)
        begun = Migration(phase=self.phase, droplet=self.droplet.name)
        self.seals(run).seal_migration(begun, self.droplet, self.unit)
        with refusals_explained(proxies):
            job.start(run.run_id, program, limit)
        report = self._follow(job, log, proxies)
        migration = Migration.of(self.phase, self.droplet.name, report)
        self.seals(run).seal_migration(migration, self.droplet, self.unit)
        if report.state is JobState.FAILED:
            remove_traces(job, self.phase, self.log)
        require_success(report, self.droplet.label, self.phase, log)
        self.log.info("%s", migration)
        return migration.model_dump(mode="json")


def end_job(app: App, done: MigrationDone, token: int) -> None:
    """End the job of a phase if it is at work, and remove its traces, values of the environment included.

    Its result is kept until the run ends: Airflow may lose a task's result, and commands must not run twice.

    :param token: the run's.
    :raises BlueGreenError: if the droplet is another run's by now, or does not answer.
    """
    with RemoteJob(DropletAgentHook.of(done.droplet, app), app.id, done.unit, token) as job:
        job.end()
