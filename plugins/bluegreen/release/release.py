"""A release on a droplet: the input of the job that builds and starts it, and the cause of a failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.protocol import Verb
from agent.shell import Settings, with_head
from bluegreen.agent_bundle import agent_text
from bluegreen.patterns import REVISION
from bluegreen.release.cage import CAGE
from bluegreen.release.system_names import BUILD_USER, FETCH_USER, system_name
from bluegreen.settings.app import App
from bluegreen.settings.app_id import check_app_id
from bluegreen.source.forge import PATIENCE_SECONDS, REFUSALS
from bluegreen.templates import render_unit

# Seconds an app has to load; seconds added to `server.stop_timeout` for systemd's `TimeoutStopSec`.
LOAD_TIMEOUT = 60
STOP_MARGIN = 10

_CAUSE_MARK = "bluegreen: "
# Programs that a deploy needs on a droplet, and megabytes for a release, its dependencies and logs.
NEEDED_TOOLS = ("perl", "carton", "git")
MIN_FREE_MB = 200
# The reserve of a droplet's disk: the next release can be built even after one that has filled the rest.
RESERVE_MB = MIN_FREE_MB
# The same in files: a release with its dependencies has some thousands.
MIN_FREE_INODES = 5_000
RESERVE_INODES = 4 * MIN_FREE_INODES


@dataclass(frozen=True)
class Release:
    """The release to run on a droplet, as plain values.

    :param app: the app's id.
    :param repository: URL that the droplet fetches from.
    :param revision: 40 hex digits.
    :param listen_address: address that the app listens on, usually the droplet's private one.
    :param command: the server's command; ``{listen}``, ``{workers}`` and ``{psgi}`` are filled in here.
    :param stop_timeout: seconds that a request may take while the service stops.
    :param health_host: the ``Host`` of health requests; the app's own address if ``None``.
    :param https: whether clients come by https.
    :param health_statuses: good answers to ``health_path``; 200 to 299 if there are none.
    :param health_timeout: seconds within which the started app must be healthy.
    :param min_free_mb: megabytes that must be free before anything is written.
    :param min_free_inodes: files that there must be room for then.
    :param kept: a revision that stays on the droplet, however many newer ones there are.
    """

    app: str
    repository: str
    revision: str
    listen_address: str
    port: int
    workers: int
    command: Sequence[str]
    psgi: str
    keep_releases: int
    stop_timeout: int
    health_path: str
    health_host: str | None
    https: bool
    health_statuses: tuple[int, ...]
    healthy_threshold: int
    health_timeout: float
    kept: str | None = None
    # Less may be free than when the run looked: another app may be deployed there meanwhile.
    min_free_mb: int = MIN_FREE_MB // 2
    min_free_inodes: int = MIN_FREE_INODES // 2

    @classmethod
    def of(cls, app: App, revision: str, listen_address: str, kept: str | None = None) -> Release:
        """Make it from an app's settings."""
        server, health = app.server, app.health
        return cls(
            app=app.id,
            repository=app.repository,
            revision=revision,
            listen_address=listen_address,
            port=server.port,
            # One more than HAProxy uses, so that a health check finds a free worker despite long requests.
            workers=server.workers + 1,
            command=server.command,
            psgi=server.psgi,
            keep_releases=server.keep_releases,
            stop_timeout=server.stop_timeout,
            health_path=health.path,
            health_host=app.traffic.public_host,
            https=app.traffic.https,
            health_statuses=app.good_statuses(health.path),
            healthy_threshold=health.healthy_threshold,
            health_timeout=health.timeout,
            kept=kept,
        )


def deploy_unit(app: str, revision: str) -> str:
    """Name of the transient unit that deploys a revision: ``bluegreen-app-shop-0123456789ab``."""
    check_app_id(app)
    _check_revision(revision)
    return f"bluegreen-{system_name(app)}-{revision[:12]}"


def deploy_program(release: Release) -> dict[str, Any]:
    """What the job does that builds, loads, activates and proves a release.

    See :class:`bluegreen.hooks.remote_job.RemoteJob`.

    :raises ValueError: if app or a revision are none.
    """
    check_app_id(release.app)
    _check_revision(release.revision)
    if release.kept:
        _check_revision(release.kept)
    requests = {Verb.ACTIVATE.value: _activation(release)}
    return {"script": "deploy_release.sh", "settings": _settings(release), "requests": requests}


def _activation(release: Release) -> dict[str, Any]:
    """What the agent is asked for once the release is built."""
    return {
        "app": system_name(release.app),
        "unit": deploy_unit(release.app, release.revision),
        "revision": release.revision,
        "kept": release.kept or "",
        "keep": release.keep_releases,
        "unit_text": service_unit(release),
        "address": release.listen_address,
        "port": release.port,
        "path": release.health_path,
        "host": release.health_host,
        "https": release.https,
        "statuses": list(release.health_statuses),
        "healthy_threshold": release.healthy_threshold,
        "timeout": release.health_timeout,
    }


def _settings(release: Release) -> dict[str, str | int | float | list[str]]:
    """What the script finds in its variables."""
    return {
        "system_name": system_name(release.app),
        "fetch_user": FETCH_USER,
        "build_user": BUILD_USER,
        "repository": release.repository,
        "forge_refusals": REFUSALS,
        "forge_patience": round(PATIENCE_SECONDS),
        "revision": release.revision,
        "unit": deploy_unit(release.app, release.revision),
        "min_free_mb": release.min_free_mb,
        "reserve_mb": RESERVE_MB,
        "min_free_inodes": release.min_free_inodes,
        "reserve_inodes": RESERVE_INODES,
        "load_timeout": LOAD_TIMEOUT,
        "start_text": start_text(release),
        "cage": list(CAGE),
    }


def service_unit(release: Release) -> str:
    """The app's systemd unit."""
    return render_unit(
        "droplet/app.service.j2",
        system_name=system_name(release.app),
        stop_timeout=release.stop_timeout + STOP_MARGIN,
        cage=CAGE,
    )


def failure_cause(lines: Sequence[str]) -> str:
    """Return the cause in the last lines of a failed job; empty if there is none."""
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
    settings: Settings = {"psgi": release.psgi, "load_timeout": LOAD_TIMEOUT, "command": words}
    return with_head(agent_text("droplet/start.sh"), settings)


def _check_revision(revision: str) -> None:
    if not re.fullmatch(REVISION, revision):
        raise ValueError(f"a revision is 40 hex digits, not {revision!r}")
