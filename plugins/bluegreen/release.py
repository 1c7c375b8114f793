"""A release on a droplet: the scripts that build, start and describe it, and what they answer.

Everything here is pure: scripts are rendered from plain values and answers parsed from text; who sends the
one and receives the other is no concern of this module. Each rendered script is to be run as root by
``bash -s`` on the droplet, with the script as its standard input.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.app import APP_ID_PATTERN, App
from bluegreen.errors import BlueGreenError
from bluegreen.scripts import render_script, render_unit
from bluegreen.templates import TEMPLATES_DIRECTORY

# Seconds in which an app must load, and by which systemd's patience is longer than the longest request.
LOAD_TIMEOUT = 60
STOP_MARGIN = 10

# How a script ends that found the droplet claimed by a later run, or that should be tried again in a moment.
CLAIMED_STATUS = 3
BUSY_STATUS = 75

_CAUSE_MARK = "bluegreen: "
_REVISION = re.compile(r"[0-9a-f]{40}")
_REPORT = re.compile(
    r"@bluegreen state=(?P<state>\w+) result=(?P<result>\S*) exit=(?P<exit>\d+) "
    r"milliseconds=(?P<milliseconds>\d+) cursor=(?P<cursor>\d+) run_id=(?P<run_id>.*)"
)
_TOOLS = ("perl", "carton", "git")


class ReleaseError(BlueGreenError):
    """A droplet did not answer a script as it should."""


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
    min_free_mb: int = 100

    @classmethod
    def of(cls, app: App, revision: str, listen_address: str) -> Release:
        """Make it from an app's settings."""
        server, health = app.server, app.health
        return cls(
            app=app.id,
            repository=app.repository,
            revision=revision,
            listen_address=listen_address,
            port=server.port,
            # One more than HAProxy uses, so that a health check finds one even among long requests.
            workers=server.workers + 1,
            command=server.command,
            psgi=server.psgi,
            keep_releases=server.keep_releases,
            longest_request=server.longest_request,
            health_path=health.path,
            health_consecutive=health.consecutive,
            health_timeout=health.timeout,
        )


@dataclass(frozen=True)
class Claim:
    """A run's claim to change a droplet for an app; a claim with a greater token ends it.

    :param app: the app's id.
    :param token: the run's fencing token, see :class:`bluegreen.plan.HeldLock`.
    """

    app: str
    token: int

    def __post_init__(self) -> None:
        _check_app(self.app)


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
    :param cursor: how many lines the job has written; pass it to the next :func:`poll_script`.
    """

    state: JobState
    lines: tuple[str, ...]
    exit_status: int | None
    result: str
    run_id: str
    seconds: float
    cursor: int


@dataclass(frozen=True)
class DropletFacts:
    """What is on a droplet now.

    :param revision: what ``current`` points to, or ``None`` before the first deploy.
    :param service: systemd's word: ``active``, ``inactive``, ``failed`` …
    :param main_pid: of the service, or ``None``.
    :param disk_free_mb: megabytes free where releases go.
    :param versions: of ``perl``, ``carton`` and ``git``; ``None`` for what is not installed.
    :param missing_users: which of the users needed are not there.
    :param releases: complete releases on the droplet.
    """

    revision: str | None
    service: str
    main_pid: int | None
    disk_free_mb: int
    versions: Mapping[str, str | None]
    missing_users: tuple[str, ...]
    releases: tuple[str, ...]


def job_unit(app: str, revision: str) -> str:
    """Name of the transient unit that deploys a revision: ``bluegreen-my_perl_app-0123456789ab``."""
    _check_app(app)
    _check_revision(revision)
    return f"bluegreen-{app}-{revision[:12]}"


def deploy_script(release: Release) -> str:
    """The script that builds, loads, activates and proves a release; to be given to :func:`start_script`.

    :raises ValueError: if app or revision are none.
    """
    _check_app(release.app)
    _check_revision(release.revision)
    return render_script(
        "droplet/deploy_release.sh.j2",
        app=release.app,
        repository=release.repository,
        revision=release.revision,
        unit=job_unit(release.app, release.revision),
        health_url=f"http://{release.listen_address}:{release.port}{release.health_path}",
        health_consecutive=release.health_consecutive,
        health_timeout=release.health_timeout,
        keep_releases=release.keep_releases,
        min_free_mb=release.min_free_mb,
        load_timeout=LOAD_TIMEOUT,
        unit_text=service_unit(release),
        start_text=start_text(release),
        wrapper_text=_text("revision.psgi"),
        wait_healthy=_text("wait_healthy.pl"),
    )


def service_unit(release: Release) -> str:
    """The app's systemd unit."""
    return render_unit(
        "droplet/app.service.j2",
        app=release.app,
        stop_timeout=release.longest_request + STOP_MARGIN,
    )


def start_script(*, unit: str, run_id: str, script: str, timeout: int, claim: Claim | None = None) -> str:
    """Start a job as a transient unit, or attach to the one that is there.

    A unit of that name that is running, or that ended for the same run, is left as it is (then polled);
    one that ended for another run is replaced. To run a failed job of the same run again, clean it first.
    With a claim, jobs of earlier runs that do not do the very same are stopped before, and the job is this
    run's from then on; if a later run has claimed the droplet, nothing is started.

    :param unit: see :func:`job_unit`.
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


def poll_script(*, unit: str, cursor: int = 0, wait: float = 5) -> str:
    """Wait up to ``wait`` seconds for the job's end, then print what is new; see :func:`parse_job_report`."""
    return render_script("droplet/job_poll.sh.j2", unit=unit, cursor=cursor, wait_ms=int(wait * 1000))


def stop_script(*, unit: str, claim: Claim | None = None) -> str:
    """Stop the job; it is ``missing`` then, and another run can start it anew.

    With a claim, a droplet that a later run has claimed is left alone.
    """
    return _render_claimed("droplet/job_stop.sh.j2", claim, unit=unit)


def clean_script(*, unit: str, claim: Claim | None = None) -> str:
    """Stop the job and remove every trace of it, so that it can be started anew; a claim as when stopping."""
    return _render_claimed("droplet/job_clean.sh.j2", claim, unit=unit)


def facts_script(app: str) -> str:
    """Print facts of the droplet, see :func:`parse_facts`; changes nothing on it."""
    _check_app(app)
    return render_script("droplet/facts.sh.j2", app=app)


def parse_job_report(output: str) -> JobReport:
    """Parse what the poll script printed.

    :raises ReleaseError: if it is not a whole report.
    """
    *lines, last = output.splitlines() or [""]
    # What the job wrote may look like a report; only the last line is one.
    match = _REPORT.fullmatch(last)
    if match is None or match["state"] not in list(JobState):
        raise ReleaseError(f"the droplet's report on the job is not whole: it ends with {last[:80]!r}")
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


def parse_facts(output: str) -> DropletFacts:
    """Parse what the facts script printed.

    :raises ReleaseError: if it is not a whole answer.
    """
    pairs = [line.partition("=")[::2] for line in output.splitlines()]
    single = dict(pairs)
    try:
        if pairs[-1:] != [("end", "")]:
            raise ValueError("its end is missing")
        return DropletFacts(
            revision=single["revision"] if _REVISION.fullmatch(single["revision"]) else None,
            service=single["service"],
            main_pid=int(single["main_pid"]) or None,
            disk_free_mb=int(single["disk_free_mb"]),
            versions={tool: single[tool] or None for tool in _TOOLS},
            missing_users=tuple(value for key, value in pairs if key == "missing_user"),
            releases=tuple(sorted(value for key, value in pairs if key == "release")),
        )
    except (KeyError, ValueError) as error:
        raise ReleaseError(f"the droplet's facts are not whole: {error}") from None


def failure_cause(lines: Sequence[str]) -> str:
    """The cause that a failed job gave in its last words; empty if it gave none."""
    causes = [line.removeprefix(_CAUSE_MARK) for line in lines if line.startswith(_CAUSE_MARK)]
    return causes[-1] if causes else ""


def start_text(release: Release) -> str:
    """The script in the release that starts its server."""
    values = {
        "listen": f"{release.listen_address}:{release.port}",
        "workers": str(release.workers),
        "psgi": ".bluegreen/revision.psgi",
    }
    words = [
        re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), word) for word in release.command
    ]
    return render_script("droplet/start.sh.j2", psgi=release.psgi, command=words, load_timeout=LOAD_TIMEOUT)


def _render_claimed(name: str, claim: Claim | None, **values: object) -> str:
    return render_script(name, claim=claim, claimed_status=CLAIMED_STATUS, busy_status=BUSY_STATUS, **values)


def _text(name: str) -> str:
    return (TEMPLATES_DIRECTORY / "droplet" / name).read_text(encoding="utf-8")


def _check_app(app: str) -> None:
    if not re.fullmatch(APP_ID_PATTERN, app):
        raise ValueError(f"{app!r} is no app's id")


def _check_revision(revision: str) -> None:
    if not _REVISION.fullmatch(revision):
        raise ValueError(f"a revision is 40 hex digits, not {revision!r}")
