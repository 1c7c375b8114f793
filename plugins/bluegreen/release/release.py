"""A release on its way: what the builder is asked for, and every droplet after that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.protocol import (
    ActivateRequest,
    BuildRequest,
    Configuration,
    InstallRequest,
    LoadRequest,
    Program,
    SentFile,
    Step,
    Verb,
)
from agent.release_name import is_release, revision_of
from bluegreen.patterns import REVISION
from bluegreen.release.cage import CAGE
from bluegreen.release.servers import Server, server_of
from bluegreen.release.service_unit import ServiceUnit
from bluegreen.release.system_names import BUILD_USER, system_name
from bluegreen.settings.app import App
from bluegreen.settings.app_id import check_app_id

# Seconds added to `server.stop_timeout` for systemd's `TimeoutStopSec`.
STOP_MARGIN = 10

_CAUSE_MARK = "bluegreen: "


def build_unit(app_id: str, revision: str) -> str:
    """Name of the transient unit that builds a revision: ``bluegreen-app-shop-build-0123456789ab``.

    :raises ValueError: if app or revision are none.
    """
    return f"bluegreen-{_name(app_id)}-build-{_checked(revision)[:12]}"


def deploy_unit(app_id: str, revision: str) -> str:
    """Name of the transient unit that installs or starts a revision: ``bluegreen-app-shop-0123456789ab``.

    :raises ValueError: if app or revision are none.
    """
    return f"bluegreen-{_name(app_id)}-{_checked(revision)[:12]}"


def build_program(app: App, revision: str, committed: int, source: SentFile) -> Program:
    """Return what the builder's job does: one step, ``build``.

    :param committed: the commit's date, in seconds since the epoch.
    :param source: the revision's files, in the directory ``incoming``.
    """
    dependencies = app.dependencies
    request: BuildRequest = {
        "app": _name(app.id),
        "unit": build_unit(app.id, revision),
        "revision": revision,
        "committed": committed,
        "source": source,
        "root": app.server.root,
        "perl": app.server.perl,
        "packages": list(app.fleet.packages),
        "dependencies": {
            "installer": dependencies.installer,
            "without": list(dependencies.without),
            "features": list(dependencies.features),
            "mirror": dependencies.mirror,
            "run_tests": dependencies.run_tests,
        },
        "commands": [list(command) for command in app.build.commands],
        "network": app.build.network,
        "links": dict(app.links),
        "user": BUILD_USER,
        "cage": list(CAGE),
    }
    return {"steps": [_step(Verb.BUILD, request)]}


def deploy_program(
    app: App,
    release: str,
    digest: str,
    artifact: SentFile | None,
    configuration: Configuration,
    address: str,
    kept: str | None,
) -> Program:
    """Return what a droplet's job does in a deploy: install a release, load it, and activate it.

    :param release: its name.
    :param digest: of its manifest.
    :param artifact: the artifact, in the directory ``incoming``; ``None`` if the release is there already.
    :param configuration: what it runs with.
    :param address: what the app listens on, the droplet's private address.
    :param kept: a revision that stays on the droplet, however many newer ones there are.
    """
    request: InstallRequest = {
        "app": _name(app.id),
        "unit": deploy_unit(app.id, revision_of(release)),
        "release": release,
        "digest": digest,
        "artifact": artifact,
        "configuration": configuration,
        "packages": list(app.fleet.packages),
    }
    started = start_program(app, release, configuration["digest"], address, kept)
    return {"steps": [_step(Verb.INSTALL, request), *started["steps"]]}


def start_program(app: App, release: str, configuration: str, address: str, kept: str | None) -> Program:
    """Return what a droplet's job does that starts a release which is there: load it, and activate it.

    :param configuration: the digest of the configuration that it runs with, which is there, too.
    """
    unit = deploy_unit(app.id, revision_of(release))
    load = load_request(app, unit, release, configuration, address)
    return {
        "steps": [
            _step(Verb.LOAD, load),
            _step(Verb.ACTIVATE, _activation(app, unit, release, configuration, address, kept)),
        ]
    }


def load_request(app: App, unit: str, release: str, configuration: str, address: str) -> LoadRequest:
    """Return how a release is loaded once, to see whether it would start.

    :param unit: the job's name.
    """
    service = _service(app, release, configuration, address)
    return {
        "app": _name(app.id),
        "unit": unit,
        "release": release,
        "command": list(_server(app, release, address).load_command),
        "properties": list(service.load_properties),
        "timeout": float(app.server.load_timeout),
    }


def service_unit(app: App, release: str, configuration: str, address: str) -> str:
    """Return the app's systemd unit: it pairs a release, its configuration and the server's command."""
    return _service(app, release, configuration, address).text


def failure_cause(lines: Sequence[str]) -> str:
    """Return the cause in the last lines of a failed job; empty if there is none."""
    causes = [line.removeprefix(_CAUSE_MARK) for line in lines if line.startswith(_CAUSE_MARK)]
    return causes[-1] if causes else ""


def _activation(
    app: App, unit: str, release: str, configuration: str, address: str, kept: str | None
) -> ActivateRequest:
    return {
        "app": _name(app.id),
        "unit": unit,
        "release": release,
        "configuration": configuration,
        "kept": _checked(kept) if kept else "",
        "keep": app.server.keep_releases,
        "unit_text": service_unit(app, release, configuration, address),
        "address": address,
        "port": app.server.port,
        "path": app.health.path,
        "host": app.traffic.public_host,
        "https": app.traffic.https,
        "statuses": list(app.good_statuses(app.health.path)),
        "healthy_threshold": app.health.healthy_threshold,
        "timeout": app.health.timeout,
    }


def _service(app: App, release: str, configuration: str, address: str) -> ServiceUnit:
    server = _server(app, release, address)
    return ServiceUnit(
        system_name=_name(app.id),
        release=release,
        configuration=configuration,
        directory=server.directory,
        environment=server.environment,
        command=server.command,
        stop_signal=server.stop_signal,
        stop_timeout=app.server.stop_timeout + STOP_MARGIN,
        memory_max=app.server.memory_max,
        delivers_files=bool(app.files),
    )


def _server(app: App, release: str, address: str) -> Server:
    if not is_release(release):
        raise ValueError(f"{release!r:.80} is not the name of a release")
    return server_of(app, f"/opt/{_name(app.id)}/releases/{release}", f"{address}:{app.server.port}")


def _step(verb: Verb, request: BuildRequest | InstallRequest | LoadRequest | ActivateRequest) -> Step:
    return {"verb": verb.value, "request": {**request}}


def _name(app_id: str) -> str:
    check_app_id(app_id)
    return system_name(app_id)


def _checked(revision: str) -> str:
    if not re.fullmatch(REVISION, revision):
        raise ValueError(f"a revision is 40 hex digits, not {revision!r}")
    return revision
