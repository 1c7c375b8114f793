"""Running a one-off command in the live release, beside the app's service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.one_off import GONE
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.one_off import require_user_of
from bluegreen.operators.support.seals import Seals
from bluegreen.operators.support.this_run import COMMAND_KEY, left_as
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.release import failure_cause
from bluegreen.release.run_command import MARGIN, command_program, command_unit
from bluegreen.run.one_off import CommandTarget, OneOffCommand, command_in

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun

# The droplet gives nothing for a token of such a job: it claims nothing.
NO_TOKEN = 0


class RunCommandOperator(BlueGreenOperator):
    """Run the command of the run's parameter on one live droplet, in the release that its service runs.

    :param target: the :class:`CommandTarget` of the task ``run_check``; templated.
    """

    template_fields: Sequence[str] = ("target",)

    def __init__(self, *, target: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target
        self._unit: str | None = None

    @property
    def _target(self) -> CommandTarget:
        return left_as(CommandTarget, self.target)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that the user may, and that release and droplet are what this run's own task has found.

        :raises PolicyError: if not.
        """
        require_user_of(run, self.app)
        Seals(run, self.app).require_finding("run_check", self.target)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`OneOffCommand`; the log has what the command has written.

        :raises BlueGreenError: with its exit status and its last words, unless that is 0.
        """
        target, command, log = self._target, command_in(run.params), JobLog(self.log)
        unit = self._unit = command_unit(self.app_id, f"{run.dag_id}/{run.run_id}")
        address = str(target.droplet.private)
        program = command_program(self.app, unit, target.release, target.configuration, address, command)
        with self._job(unit) as job:
            # The droplet starts it once: the try after a worker died gets it or its end, or is refused.
            job.start(run.run_id, program, self.app.timeouts.run + MARGIN)
            report = self._followed(job, log)
            ended = OneOffCommand.of(target, command, report)
            run.push(COMMAND_KEY, ended.model_dump(mode="json"))
            self._end(job)
        name = target.droplet.label
        if report.state is JobState.MISSING:
            raise BlueGreenError(f"{name}: {GONE}")
        if report.state is not JobState.SUCCESS:
            cause = failure_cause(tuple(log.last)) or _known_of(ended, report)
            raise BlueGreenError(f"{name}: {cause}")
        self.log.info("%s", ended)
        return ended.model_dump(mode="json")

    def on_kill(self) -> None:
        """End the command: whoever marks the run failed means it."""
        if self._unit is None:
            return
        # Airflow calls this in a signal handler: an error would surface in the middle of `act`.
        try:
            with self._job(self._unit) as job:
                job.end()
        except (BlueGreenError, ValueError) as error:
            self.log.warning("the command may still be at work (%s); its time limit ends it", error)

    def _job(self, unit: str) -> RemoteJob:
        agent = DropletAgentHook.of(self._target.droplet, self.app)
        return RemoteJob(agent, self.app_id, unit, NO_TOKEN)

    def _followed(self, job: RemoteJob, log: JobLog) -> JobReport:
        """Follow the command to its end.

        :raises BlueGreenError: if the droplet stays away; no retry follows.
        """
        try:
            return job.follow(log.write)
        except BlueGreenError as error:
            self._end(job)
            raise BlueGreenError(f"{error}; it is not known how far the command came") from None

    def _end(self, job: RemoteJob) -> None:
        """End the command, and remove its traces; what is known of it depends on nothing of that."""
        try:
            job.end()
        except BlueGreenError as error:
            self.log.warning("traces of the command are left; its limit ends it: %s", error)


def _known_of(ended: OneOffCommand, report: JobReport) -> str:
    """Return how a command failed that has left no output on the droplet."""
    if ended.ran is None:
        return f"its job ended with {report.result}"
    return f"{ended}; the droplet has no output of it any more, see the log of the earlier try"
