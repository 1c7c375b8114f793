"""A job on a droplet, as a transient systemd unit: the scripts that start, follow and end it, and its report.

Everything here is pure: scripts are rendered from plain values and answers parsed from text; who sends the
one and receives the other is no concern of this module. Each rendered script is to be run as root by
``bash -s`` on the droplet, with the script as its standard input.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.agent_bundle import agent_text
from bluegreen.errors import BlueGreenError
from bluegreen.release.system_names import system_name
from bluegreen.scripts import render_script
from bluegreen.settings.app_id import check_app_id
from bluegreen.templates import template_text

# How a script ends that found the droplet claimed by a later run, or that should be tried again in a moment.
CLAIMED_STATUS = 3
BUSY_STATUS = 75

_REPORT = re.compile(
    r"@bluegreen state=(?P<state>\w+) result=(?P<result>\S*) exit=(?P<exit>\d+) "
    r"milliseconds=(?P<milliseconds>\d+) cursor=(?P<cursor>\d+) run_id=(?P<run_id>.*)"
)


class JobError(BlueGreenError):
    """A droplet's report on a job is not usable."""


@dataclass(frozen=True)
class Claim:
    """A run's claim to change a droplet for an app; a claim with a greater token ends it.

    :param app: the app's id.
    :param token: the run's fencing token, see :class:`bluegreen.run.plan.HeldLock`.
    """

    app: str
    token: int

    def __post_init__(self) -> None:
        check_app_id(self.app)

    @property
    def system_name(self) -> str:
        """What the app is called on a droplet."""
        return system_name(self.app)


class JobState(StrEnum):
    """Where a job on a droplet stands."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    # No such unit: never started, cleaned up, or the droplet was restarted.
    MISSING = "missing"


@dataclass(frozen=True)
class JobReport:
    """One answer of :func:`poll_script`.

    :param lines: what the job wrote since the cursor of the report before.
    :param exit_status: of the job's process once it has ended, else ``None``.
    :param result: systemd's word for how it ended: ``success``, ``exit-code``, ``signal``, ``timeout`` …
    :param run_id: the run that started the job.
    :param seconds: how long the job has run, or ran.
    :param cursor: up to where its output was read; pass it to the next :func:`poll_script`.
    """

    state: JobState
    lines: tuple[str, ...]
    exit_status: int | None
    result: str
    run_id: str
    seconds: float
    cursor: int


def start_script(*, unit: str, run_id: str, script: str, timeout: int, claim: Claim | None = None) -> str:
    """Start a job as a transient unit, or attach to the one that is there.

    A unit of that name that is running, or that ended for the same run, is left as it is (then polled);
    one that ended for another run is replaced. To run a failed job of the same run again, clean it first.
    With a claim, jobs of earlier runs that do not do the very same are stopped before, and the job is this
    run's from then on; if a later run has claimed the droplet, nothing is started.

    :param unit: its name, for example of :func:`bluegreen.release.release.deploy_unit`.
    :param run_id: the Airflow run; kept as the unit's description.
    :param script: what to run.
    :param timeout: seconds after which systemd ends the job.
    :param claim: the run's, see :func:`claim_script`.
    :raises ValueError: if the run id is not one line of text.
    """
    if not run_id.isprintable() or not run_id.strip():
        raise ValueError(f"a run id is one line of text, not {run_id!r}")
    return _render_claimed(
        "droplet/job_start.sh.j2", claim, unit=unit, run_id=run_id, script=script, timeout=timeout
    )


def claim_script(claim: Claim) -> str:
    """Make the droplet the run's own: jobs of earlier runs are stopped, and can start or activate no more.

    It ends with ``CLAIMED_STATUS`` if a later run has claimed the droplet, and with ``BUSY_STATUS`` while a
    job is just starting a release.
    """
    return _render_claimed("droplet/claim_droplet.sh.j2", claim)


def token_script(app: str) -> str:
    """Print the greatest token by which the droplet was ever claimed for an app, or 0."""
    check_app_id(app)
    return render_script("droplet/newest_token.sh.j2", system_name=system_name(app))


def poll_script(*, app: str, unit: str, cursor: int = 0, wait: float = 5) -> str:
    """Wait up to ``wait`` seconds for the job's end, then print what is new; see :func:`parse_job_report`.

    Nothing that the app's environment on the droplet holds is printed, and of a long output a part at a time.
    """
    return render_script(
        "droplet/job_poll.sh.j2",
        unit=unit,
        cursor=cursor,
        wait_ms=int(wait * 1000),
        environment_file=f"/etc/default/{system_name(app)}",
        show_log=agent_text("droplet/mask.py") + template_text("droplet/show_log.py"),
    )


def clean_script(*, unit: str, claim: Claim | None = None) -> str:
    """Stop the job and remove every trace of it, so that it can be started anew.

    With a claim, a droplet that a later run has claimed is left alone.
    """
    return _render_claimed("droplet/job_clean.sh.j2", claim, unit=unit)


def parse_job_report(output: str) -> JobReport:
    """Parse what the poll script printed.

    :raises JobError: if it is not a whole report.
    """
    *lines, last = output.splitlines() or [""]
    # What the job wrote may look like a report; only the last line is one.
    match = _REPORT.fullmatch(last)
    if match is None or match["state"] not in list(JobState):
        raise JobError(f"the droplet's report on the job is not whole: it ends with {last[:80]!r}")
    state = JobState(match["state"])
    return JobReport(
        state=state,
        lines=tuple(lines),
        exit_status=int(match["exit"]) if state in (JobState.SUCCESS, JobState.FAILED) else None,
        result=match["result"],
        run_id=match["run_id"],
        seconds=int(match["milliseconds"]) / 1000,
        cursor=int(match["cursor"]),
    )


def _render_claimed(name: str, claim: Claim | None, **values: object) -> str:
    return render_script(name, claim=claim, claimed_status=CLAIMED_STATUS, busy_status=BUSY_STATUS, **values)
