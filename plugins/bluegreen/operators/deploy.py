"""Building and starting a release on one idle droplet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError, output_of
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import ReleaseOperator
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.links import CommitLink, DropletLink
from bluegreen.release.jobs import (
    Claim,
    JobReport,
    JobState,
    clean_script,
    parse_job_report,
    poll_script,
    start_script,
)
from bluegreen.release.release import Release, deploy_script, deploy_unit, failure_cause

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun


class JobGoneError(BlueGreenError):
    """The job vanished before its result was read; it can be started again."""

    transient = True


RECONNECT_SECONDS = 60.0
RECONNECT_INTERVAL = 2.0

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
        with DropletHook.of(droplet, self.app) as hook:
            with refusals_explained(proxies):
                output_of(hook, self._start(droplet, run))
            report = self._follow(hook, proxies)
            if report.state is JobState.MISSING:
                raise JobGoneError(
                    f"{droplet.label}: its deploy job is gone (stopped, or the droplet was restarted)"
                )
            self._clean(hook)
        if report.state is not JobState.SUCCESS:
            raise BlueGreenError(f"{droplet.label}: {self._cause(report)}")
        return {"droplet": droplet.name, "script_seconds": report.seconds}

    def on_kill(self) -> None:
        """End the job, so that a run that was marked failed does not go on working on the droplet."""
        # Airflow calls this in a signal handler: an error would surface in the middle of `act`.
        try:
            with DropletHook.of(self.run_plan.idle_droplet(self.ip), self.app) as hook:
                self._end(hook)
        except (BlueGreenError, ValueError) as error:
            self.log.warning(JOB_LEFT, error)

    @property
    def _unit(self) -> str:
        return deploy_unit(self.app_id, self.revision)

    @property
    def _claim(self) -> Claim:
        return Claim(self.app_id, self.held_lock.fencing_token)

    def _start(self, droplet: Droplet, run: ThisRun) -> str:
        release = Release.of(self.app, self.revision, str(droplet.private), self.run_plan.good)
        return start_script(
            unit=self._unit,
            run_id=run.run_id,
            script=deploy_script(release),
            timeout=self.app.timeouts.build,
            claim=self._claim,
        )

    def _end(self, hook: DropletHook) -> None:
        """Stop the job if it is still this run's, and remove its traces."""
        output_of(hook, clean_script(unit=self._unit, claim=self._claim))

    def _cause(self, report: JobReport) -> str:
        if report.result == "timeout":
            return f"the deploy was not done within {self.app.timeouts.build} s (setting timeouts.build)"
        return failure_cause(report.lines) or f"its script ended with {report.result}"

    def _clean(self, hook: DropletHook) -> None:
        """Remove the job's traces; the result is known by now, so nothing depends on it."""
        try:
            self._end(hook)
        except BlueGreenError as error:
            self.log.warning("traces of the deploy job are left, a later one removes them: %s", error)

    def _follow(self, hook: DropletHook, proxies: ProxiesHook) -> JobReport:
        """Follow the unit to its end; if that cannot be done and no retry will, end it."""
        try:
            return self._log_to_the_end(hook, proxies)
        except BlueGreenError as error:
            if not error.transient:
                self._end_what_is_left(hook)
            raise

    def _end_what_is_left(self, hook: DropletHook) -> None:
        """End the job; why the task fails matters more than if that works."""
        try:
            self._end(hook)
        except BlueGreenError as error:
            self.log.warning(JOB_LEFT, error)

    def _log_to_the_end(self, hook: DropletHook, proxies: ProxiesHook) -> JobReport:
        """Log what the unit writes until it has ended; a lost connection is opened again."""
        log = JobLog(self.log)
        cursor, lost_since = 0, None
        while True:
            proxies.renew_in_time()
            try:
                report = parse_job_report(
                    output_of(hook, poll_script(app=self.app_id, unit=self._unit, cursor=cursor))
                )
            except DropletUnreachableError as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > RECONNECT_SECONDS:
                    raise
                self.log.warning("%s; connecting again", error)
                time.sleep(RECONNECT_INTERVAL)
                continue
            lost_since, cursor = None, report.cursor
            log.write(report.lines)
            if report.state is not JobState.RUNNING:
                return replace(report, lines=tuple(log.last))
