"""A release on a droplet: the scripts that build, start and describe it, and what they answer.

Everything here is pure: scripts are rendered from plain values and answers parsed from text; who sends the
one and receives the other is no concern of this module. Each rendered script is to be run as root by
``bash -s`` on the droplet, with the script as its standard input.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.scripts import render_script, render_unit

_REVISION = re.compile(r"[0-9a-f]{40}")
_JOB_MARK = "@bluegreen "
_CAUSE_MARK = "bluegreen: "


@dataclass(frozen=True)
class Release:
    """What is to run on a droplet, in plain values.

    :param app: the app's id.
    :param repository: URL that the droplet fetches from.
    :param revision: 40 hex digits.
    :param listen_address: address that the app listens on, usually the droplet's private one.
    :param command: the server's command; ``{listen}``, ``{workers}`` and ``{psgi}`` are filled in here.
    :param longest_request: seconds that a request may take while the service stops.
    :param health_timeout: seconds within which the started app must be healthy.
    :param deploy_user: who fetches and builds.
    :param run_user: who runs the app; the app's id by default.
    :param min_free_mb: megabytes that must be free before anything is written.
    """

    app: str
    repository: str
    revision: str
    listen_address: str
    port: int
    workers: int
    command: Sequence[str]
    psgi: str = "app.psgi"
    keep_releases: int = 5
    longest_request: int = 60
    health_path: str = "/health"
    health_consecutive: int = 3
    health_timeout: float = 60
    deploy_user: str = "deploy"
    run_user: str = ""
    min_free_mb: int = 100


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
    :param cursor: pass it to the next :func:`poll_script`; empty if nothing was written yet.
    """

    state: JobState
    lines: tuple[str, ...]
    exit_status: int | None
    result: str
    run_id: str
    seconds: float
    cursor: str


@dataclass(frozen=True)
class DropletFacts:
    """What is on a droplet now.

    :param revision: what ``current`` points to, or ``None`` before the first deploy.
    :param service: systemd's word: ``active``, ``inactive``, ``failed`` …
    :param main_pid: of the service, or ``None``.
    :param disk_free_mb: megabytes free where releases go.
    :param memory_mb: megabytes of memory in the droplet.
    :param clock: seconds since the epoch by the droplet's clock.
    :param versions: of ``perl``, ``carton`` and ``git``; ``None`` for what is not installed.
    :param missing_users: which of the users needed are not there.
    :param releases: complete releases on the droplet.
    """

    revision: str | None
    service: str
    main_pid: int | None
    disk_free_mb: int
    memory_mb: int
    clock: float
    versions: Mapping[str, str | None]
    missing_users: tuple[str, ...]
    releases: tuple[str, ...]


def job_unit(app: str, revision: str) -> str:
    """Name of the transient unit that deploys a revision, for example ``bluegreen-my_perl_app-0123456789ab``."""
    raise NotImplementedError


def deploy_script(release: Release) -> str:
    """The script that builds, load-tests, activates and proves a release; to be given to :func:`start_script`."""
    raise NotImplementedError


def start_script(*, unit: str, run_id: str, script: str, timeout: int) -> str:
    """Start a job as a transient unit, or attach to the one that is there.

    A unit of that name that is running, or that ended for the same run, is left as it is (then polled);
    one that ended for another run is replaced. To run a failed job of the same run again, clean it first.

    :param unit: see :func:`job_unit`.
    :param run_id: the Airflow run; kept as the unit's description.
    :param script: what to run.
    :param timeout: seconds after which systemd ends the job.
    """
    raise NotImplementedError


def poll_script(*, unit: str, cursor: str = "", wait: float = 5) -> str:
    """Wait up to ``wait`` seconds for the job's end, then print what is new; see :func:`parse_job_report`."""
    raise NotImplementedError


def stop_script(*, unit: str) -> str:
    """Stop the job; its state stays readable."""
    raise NotImplementedError


def clean_script(*, unit: str) -> str:
    """Stop the job and remove every trace of it, so that it can be started anew."""
    raise NotImplementedError


def facts_script(*, app: str, deploy_user: str = "deploy", run_user: str = "") -> str:
    """Print facts of the droplet, see :func:`parse_facts`; changes nothing on it."""
    raise NotImplementedError


def parse_job_report(output: str) -> JobReport:
    """Parse what the poll script printed.

    :raises ReleaseError: if it is not a whole report.
    """
    raise NotImplementedError


def parse_facts(output: str) -> DropletFacts:
    """Parse what the facts script printed.

    :raises ReleaseError: if it is not a whole answer.
    """
    raise NotImplementedError


def failure_cause(lines: Sequence[str]) -> str:
    """The cause that a failed job gave in its last words, without its ``bluegreen:`` mark."""
    raise NotImplementedError
