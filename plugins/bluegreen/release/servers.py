"""The server of an app: its command, what it runs with, and how much it takes at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from bluegreen.settings.app import App
from bluegreen.settings.server import DEBIANS_PERL, Placeholder, Preset, ServerSettings

# Wrappers in each release, see include/agent/droplet: they load the app, and add X-Revision to its answers.
PSGI_WRAPPER = ".bluegreen/revision.psgi"
SCRIPT_WRAPPER = ".bluegreen/revision_mojolicious.pl"

# Connections that one process with an event loop has at once; the default of Mojolicious' own servers.
CONNECTIONS_OF_EVENT_LOOP = 1000
# Seconds that Mojolicious' prefork waits for a process that is busy with one request; its default.
LEAST_HEARTBEAT = 50
# Seconds that a connection of Mojolicious' servers may be silent; their default.
LEAST_INACTIVITY = 30

# What an app's own command is searched in, after the release's own programs and the directory of its perl.
_SEARCHED = ("/usr/local/bin", "/usr/bin", "/bin")

# Servers that finish the requests in progress after SIGQUIT only, by a word of their commands. SIGQUIT kills
# start_server, whatever it has started.
_FINISH_ON_QUIT = frozenset({"starman", "twiggy", "prefork"})
_KILLED_BY_QUIT = "start_server"

# Perl modules without which a preset cannot run: the load check fails if one is missing.
_MODULES = {
    Preset.STARMAN: ("Plack::Handler::Starman", "Starman::Server"),
    Preset.TWIGGY: ("Plack::Handler::Twiggy",),
    Preset.STARLET: ("Plack::Handler::Starlet",),
}


@dataclass(frozen=True)
class Server:
    """How the server of one release is run on one droplet; every path is absolute.

    :param command: its words; the program is searched in ``PATH`` of ``environment``.
    :param load_command: the words of a command that loads the app once, as the server would, and ends.
    :param environment: variables of both commands; what the app's own environment sets counts more.
    :param directory: the working directory of both.
    :param stop_signal: after which the server finishes the requests in progress, for example ``SIGQUIT``.
    """

    command: Sequence[str]
    load_command: Sequence[str]
    environment: dict[str, str]
    directory: str
    stop_signal: str


def server_of(app: App, directory: str, listen: str) -> Server:
    """Return how an app's release is run.

    :param directory: the release's real directory on the droplet: ``current`` may point elsewhere tomorrow.
    :param listen: address and port, for example ``10.0.0.5:8080``.
    """
    server = app.server
    values: dict[str, str] = {
        Placeholder.LISTEN: listen,
        Placeholder.WORKERS: str(processes_of(app)),
        Placeholder.PSGI: f"{directory}/{PSGI_WRAPPER}",
        Placeholder.SCRIPT: f"{directory}/{SCRIPT_WRAPPER}",
    }
    words = _preset_command(app) if server.command is None else server.command
    return Server(
        command=[_filled(word, values) for word in words],
        load_command=[_filled(word, values) for word in _load_command(server)],
        environment=_environment(app, directory),
        directory=_below(directory, server.in_release("")),
        stop_signal=_stop_signal(server),
    )


def processes_of(app: App) -> int:
    """Return how many processes the server has.

    One more than HAProxy uses, so that a health check finds a free process despite long requests.
    """
    return app.server.workers + 1


def connections_of(app: App) -> int:
    """Return how many connections a server has at once: the limit that HAProxy keeps to."""
    server = app.server
    if server.command is None and server.preset is Preset.TWIGGY:
        return CONNECTIONS_OF_EVENT_LOOP
    if server.runs_script:
        return CONNECTIONS_OF_EVENT_LOOP * server.workers
    return server.workers


def _preset_command(app: App) -> list[str]:
    server = app.server
    match server.preset:
        case Preset.STARMAN:
            # Loaded once, before there are workers: a fifth of the memory, and ready in a sixth of the time.
            # Keep-alive would give a whole worker to each idle connection of HAProxy.
            options = ["--workers", "{workers}", "--preload-app", "--disable-keepalive"]
            return [server.perl, "-S", "starman", "--listen", "{listen}", *options, "{psgi}"]
        case Preset.TWIGGY:
            return [server.perl, "-S", "twiggy", "--listen", "{listen}", "{psgi}"]
        case Preset.STARLET:
            options = ["--max-workers", "{workers}"]
            return [
                server.perl,
                "-S",
                "plackup",
                "--server",
                "Starlet",
                "--listen",
                "{listen}",
                *options,
                "{psgi}",
            ]
        case Preset.UWSGI:
            return _uwsgi(app)
        case Preset.MOJOLICIOUS:
            return _prefork(app)


def _prefork(app: App) -> list[str]:
    """Return the command of Mojolicious' own server, which serves WebSockets."""
    server = app.server
    return [
        server.perl,
        "{script}",
        "prefork",
        "--listen",
        "http://{listen}",
        "--workers",
        "{workers}",
        # HAProxy replaces what clients pretend, see traffic.trusted_proxies.
        "--proxy",
        # HAProxy opens a connection for each request, and a process that ends cuts its WebSockets.
        "--accepts",
        "0",
        "--heartbeat-timeout",
        str(max(LEAST_HEARTBEAT, app.traffic.timeout_server)),
        "--graceful-timeout",
        str(server.stop_timeout),
    ]


def _uwsgi(app: App) -> list[str]:
    """Return the command of uWSGI; Debian has its PSGI plugin in a package of its own."""
    return [
        "uwsgi",
        "--plugins",
        "psgi",
        "--master",
        "--need-app",
        "--http-socket",
        "{listen}",
        "--processes",
        "{workers}",
        # Headers may be as large as HAProxy lets them be; by default 4 KB.
        "--buffer-size",
        "32768",
        # By default a client has 4 s to send a request's body.
        "--socket-timeout",
        str(app.traffic.timeout_server),
        "--disable-logging",
        # No signal lets requests finish by default.
        "--hook-master-start",
        "unix_signal:15 gracefully_kill_them_all",
        "--worker-reload-mercy",
        str(app.server.stop_timeout),
        "--psgi",
        "{psgi}",
    ]


def _load_command(server: ServerSettings) -> list[str]:
    if server.runs_script:
        return [server.perl, "{script}", "check"]
    modules = _MODULES.get(server.preset, ()) if server.command is None else ()
    loaded = [f"-M{module}" for module in ("Plack::Util", *modules)]
    return [server.perl, *loaded, "-e", "Plack::Util::load_psgi(shift)", "{psgi}"]


def _environment(app: App, directory: str) -> dict[str, str]:
    server = app.server
    local = _below(directory, server.in_release("local"))
    libraries = [_below(directory, server.in_release(path)) for path in server.lib]
    searched = dict.fromkeys([f"{local}/bin", str(PurePosixPath(server.perl).parent), *_SEARCHED])
    if server.perl == DEBIANS_PERL:
        searched = dict.fromkeys([f"{local}/bin", *_SEARCHED])
    started_from = server.in_release(server.started_from)
    common = {"PATH": ":".join(searched), "PERL5LIB": ":".join([*libraries, f"{local}/lib/perl5"])}
    if server.runs_script:
        # With PLACK_ENV, Mojolicious' commands would take themselves for a PSGI app and end at once.
        # An answer may take as long as HAProxy waits for it; by default 30 s.
        waits = {"MOJO_INACTIVITY_TIMEOUT": str(max(LEAST_INACTIVITY, app.traffic.timeout_server))}
        return {**common, **waits, "BLUEGREEN_SCRIPT": started_from}
    return {**common, "BLUEGREEN_PSGI": started_from, "PLACK_ENV": "production"}


def _stop_signal(server: ServerSettings) -> str:
    if server.stop_signal is not None:
        return server.stop_signal
    if server.command is None:
        return "SIGTERM" if server.preset in (Preset.STARLET, Preset.UWSGI) else "SIGQUIT"
    names = {PurePosixPath(word).name for word in server.command}
    return "SIGQUIT" if names & _FINISH_ON_QUIT and _KILLED_BY_QUIT not in names else "SIGTERM"


def _below(directory: str, path: str) -> str:
    return str(PurePosixPath(directory) / path)


def _filled(word: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), word)
