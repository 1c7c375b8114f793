"""Building and starting a release on one idle droplet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import ReleaseOperator
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.links import CommitLink, DropletLink
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.release import Release, deploy_program, deploy_unit, failure_cause

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun


class JobGoneError(BlueGreenError):
    """The job vanished before its result was read; it can be started again."""

    transient = True


JOB_LEFT = "the deploy job may still be at work (%s); its time limit or the next run ends it"


class DeployReleaseOperator(ReleaseOperator):
    """Build, load-test and start a release on one droplet, as a transient systemd unit there.

    The unit outlives this task: a retry, or a new run of the same revision after this one died, attaches to
    it; any other run that claims the droplet stops it.

    :param ip: public address of the droplet; templated.
    """

    template_fields: Sequence[str] = (*ReleaseOperator.template_fields, "ip")
    operator_extra_links = (DropletLink(), CommitLink())

    def __init__(self, *, ip: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ip = ip

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the droplet's name and the seconds that its script took.

        :raises BlueGreenError: with the cause that the script gave, if it failed.
        """
        droplet = self.run_plan.idle_droplet(self.ip)
        run.context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
        proxies = self.proxies()
        # Also in a run that was cleared from here on after its switch.
        proxies.require_idle(self.run_plan.idle)
        log = JobLog(self.log)
        with self._job(droplet) as job:
            with refusals_explained(proxies):
                self._start(job, droplet, run)
            report = self._follow(job, log, proxies)
            if report.state is JobState.MISSING:
                raise JobGoneError(
                    f"{droplet.label}: its deploy job is gone (stopped, or the droplet was restarted)"
                )
            self._clean(job)
        if report.state is not JobState.SUCCESS:
            raise BlueGreenError(f"{droplet.label}: {self._cause(report, log)}")
        return {"droplet": droplet.name, "script_seconds": report.seconds}

    def on_kill(self) -> None:
        """End the job, so that a run that was marked failed does not go on working on the droplet."""
        # Airflow calls this in a signal handler: an error would surface in the middle of `act`.
        try:
            with self._job(self.run_plan.idle_droplet(self.ip)) as job:
                job.end()
        except (BlueGreenError, ValueError) as error:
            self.log.warning(JOB_LEFT, error)

    def _job(self, droplet: Droplet) -> RemoteJob:
        """Return the job on a droplet, whether or not it is there yet."""
        agent = DropletAgentHook.of(droplet, self.app)
        unit = deploy_unit(self.app_id, self.revision)
        return RemoteJob(agent, self.app_id, unit, self.held_lock.fencing_token)

    def _start(self, job: RemoteJob, droplet: Droplet, run: ThisRun) -> None:
        release = Release.of(self.app, self.revision, str(droplet.private), self.run_plan.good)
        job.start(run.run_id, deploy_program(release), self.app.timeouts.build)

    def _cause(self, report: JobReport, log: JobLog) -> str:
        if report.result == "timeout":
            return f"the deploy was not done within {self.app.timeouts.build} s (setting timeouts.build)"
        return failure_cause(tuple(log.last)) or f"its script ended with {report.result}"

    def _clean(self, job: RemoteJob) -> None:
        """Remove the job's traces; the result is known by now, so nothing depends on it."""
        try:
            job.end()
        except BlueGreenError as error:
            self.log.warning("traces of the deploy job are left, a later one removes them: %s", error)

    def _follow(self, job: RemoteJob, log: JobLog, proxies: ProxiesHook) -> JobReport:
        """Follow the unit to its end; if that cannot be done and no retry will, end it."""
        try:
            return job.follow(log.write, proxies.renew_in_time)
        except BlueGreenError as error:
            if not error.transient:
                self._end_what_is_left(job)
            raise

    def _end_what_is_left(self, job: RemoteJob) -> None:
        """End the job; the task's own error matters more than a failure to end the job."""
        try:
            job.end()
        except BlueGreenError as error:
            self.log.warning(JOB_LEFT, error)
