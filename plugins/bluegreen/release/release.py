"""A release on its way: what the builder is asked for, and every droplet after that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.droplet.activated import Pairing
from agent.droplet.messages import ActivateRequest, RestoreRequest, Started
from agent.protocol import (
    BuildRequest,
    Configuration,
    EarlierArtifact,
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
from bluegreen.release.processes import process_units
from bluegreen.release.servers import Server, server_of
from bluegreen.release.service_unit import ServiceUnit
from bluegreen.release.services import services_steps
from bluegreen.release.system_names import build_user, system_name
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


def build_program(
    app: App,
    revision: str,
    committed: int,
    source: SentFile,
    credentials: dict[str, str] | None,
    earlier: EarlierArtifact | None = None,
) -> Program:
    """Return what the builder's job does: one step, ``build``.

    :param committed: the commit's date, in seconds since the epoch.
    :param source: the revision's files, in the directory ``incoming``.
    :param credentials: those of the CPAN mirror, see :func:`bluegreen.hooks.cpan.cpan_credentials`.
    :param earlier: an artifact, in the same directory, whose dependencies may be taken.
    """
    dependencies = app.dependencies
    request: BuildRequest = {
        "app": _name(app.id),
        "unit": build_unit(app.id, revision),
        "revision": revision,
        "committed": committed,
        "source": source,
        "earlier": earlier,
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
        "credentials": credentials,
        "commands": [list(command) for command in app.build.commands],
        "network": app.build.network,
        "links": dict(app.links),
        "user": build_user(app.id),
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
    kept: str,
) -> Program:
    """Return what a droplet's job does in a deploy: install a release, load it, and activate it.

    Between the two it reaches the app's backing services.

    :param release: its name.
    :param digest: of its manifest.
    :param artifact: the artifact, in the directory ``incoming``; ``None`` if the release is there already.
    :param configuration: what it runs with.
    :param address: what the app listens on, the droplet's private address.
    :param kept: digest of the pairing that was confirmed on the droplet last, or an empty text: it stays
        there, however many others there are.
    """
    unit = deploy_unit(app.id, revision_of(release))
    request: InstallRequest = {
        "app": _name(app.id),
        "unit": unit,
        "release": release,
        "digest": digest,
        "artifact": artifact,
        "configuration": configuration,
        "packages": list(app.fleet.packages),
        "perl": app.server.perl,
    }
    load = load_request(app, unit, release, configuration["digest"], address)
    started = pairing(app, release, configuration["digest"], address)
    return {
        "steps": [
            _step(Verb.INSTALL, request),
            _step(Verb.LOAD, load),
            *services_steps(app, load),
            _step(Verb.ACTIVATE, _activation(app, unit, started, address, kept)),
        ]
    }


def restore_program(app: App, started: Started, kept: str) -> Program:
    """Return what a droplet's job does in a rollback: start what was healthy there, exactly as it was.

    It is not loaded first. Nothing about it has changed since it was, and a rollback should not take long.

    :param kept: digest of the pairing that was confirmed on the droplet last, or an empty text.
    """
    request: RestoreRequest = {
        "app": _name(app.id),
        "unit": deploy_unit(app.id, revision_of(started["release"])),
        "release": started["release"],
        "configuration": started["configuration"],
        "pairing": started["pairing"],
        "kept": kept,
        "keep": app.server.keep_releases,
    }
    return {"steps": [_step(Verb.RESTORE, request)]}


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


def pairing(app: App, release: str, configuration: str, address: str) -> Pairing:
    """Return what a droplet runs of an app, where it was started with these settings."""
    service = _service(app, release, configuration, address)
    return Pairing(release, configuration, service.text, tuple(sorted(process_units(app, service).items())))


def failure_cause(lines: Sequence[str]) -> str:
    """Return the cause in the last lines of a failed job; empty if there is none."""
    causes = [line.removeprefix(_CAUSE_MARK) for line in lines if line.startswith(_CAUSE_MARK)]
    return causes[-1] if causes else ""


def _activation(app: App, unit: str, started: Pairing, address: str, kept: str) -> ActivateRequest:
    return {
        "app": _name(app.id),
        "unit": unit,
        "release": started.release,
        "configuration": started.configuration,
        "kept": kept,
        "keep": app.server.keep_releases,
        "unit_text": started.unit_text,
        "units": dict(started.units),
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


def _step(
    verb: Verb, request: BuildRequest | InstallRequest | LoadRequest | ActivateRequest | RestoreRequest
) -> Step:
    return {"verb": verb.value, "request": {**request}}


def _name(app_id: str) -> str:
    check_app_id(app_id)
    return system_name(app_id)


def _checked(revision: str) -> str:
    if not re.fullmatch(REVISION, revision):
        raise ValueError(f"a revision is 40 hex digits, not {revision!r}")
    return revision
