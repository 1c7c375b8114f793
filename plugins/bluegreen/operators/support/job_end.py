"""How a job on a droplet ended, and what is left of it there."""

from __future__ import annotations

from typing import Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.operators.support.job_log import JobLog
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.release import failure_cause


class JobGoneError(BlueGreenError):
    """The job vanished before its result was read; it can be started again."""

    transient = True


def require_success(report: JobReport, name: str, kind: str, log: JobLog, *, late: str = "") -> None:
    """Make sure that a job has done its work.

    :param name: of the droplet, for messages.
    :param kind: what the job is called in messages.
    :param log: what the job has written.
    :param late: what to say if its time was over; else the last cause that it gave counts then, too.
    :raises JobGoneError: if it vanished.
    :raises BlueGreenError: with the cause that it gave, if it failed.
    """
    if report.state is JobState.MISSING:
        raise JobGoneError(f"{name}: its {kind} job is gone (stopped, or the droplet was restarted)")
    if report.state is not JobState.SUCCESS:
        cause = failure_cause(tuple(log.last)) or f"its {kind} job ended with {report.result}"
        raise BlueGreenError(f"{name}: {late if late and report.result == 'timeout' else cause}")


def remove_traces(job: RemoteJob, kind: str, log: Any) -> None:
    """Remove a job's traces; its result is known by now, so nothing depends on that.

    :param log: of the task.
    """
    try:
        job.end()
    except BlueGreenError as error:
        log.warning("traces of the %s job are left, a later one removes them: %s", kind, error)
