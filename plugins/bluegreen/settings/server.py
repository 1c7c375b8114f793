"""How the app is started on a droplet, and when it is healthy: the sections ``server`` and ``health``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from bluegreen.settings.fields import (
    AbsolutePath,
    MemoryMax,
    RelativePath,
    StopSignal,
    UrlPath,
    Words,
    relative_path,
)
from bluegreen.settings.section import Section

DEBIANS_PERL = "/usr/bin/perl"
# What bluegreen.release.cage hides from an app, or replaces (systemd.exec(5), ProtectHome= and PrivateTmp=);
# and where apps, or anybody, may write.
_NO_PLACE = ("/home/", "/root/", "/run/", "/tmp/", "/var/tmp/", "/dev/", "/var/lib/", "/opt/app-")  # noqa: S108

# Programs that run a PSGI file, by their names.
_PSGI_SERVERS = frozenset(
    {"plackup", "starman", "twiggy", "starlet", "uwsgi", "start_server", "feersum", "gazelle", "monoceros"}
)


class Preset(StrEnum):
    """The servers whose command, signal and limits the project knows."""

    STARMAN = "starman"
    MOJOLICIOUS = "mojolicious"
    TWIGGY = "twiggy"
    STARLET = "starlet"
    UWSGI = "uwsgi"


class Placeholder(StrEnum):
    """What is filled into a command of the app's own."""

    LISTEN = "listen"
    WORKERS = "workers"
    PSGI = "psgi"
    SCRIPT = "script"


def placeholders(command: Sequence[str]) -> Iterator[str]:
    """Return the names in braces in a command's words."""
    for word in command:
        yield from re.findall(r"\{(\w+)\}", word)


def _command(command: list[str]) -> list[str]:
    found = set(placeholders(command))
    unknown = sorted(found - set(Placeholder))
    if unknown:
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; there are {', '.join(Placeholder)}")
    if Placeholder.LISTEN not in found:
        raise ValueError("the command does not contain {listen}, so the app could not be reached")
    if "=" in command[0] or command[0].startswith("-"):
        raise ValueError("the first word is the program; write variables into environment")
    wrappers = found & {Placeholder.PSGI, Placeholder.SCRIPT}
    if not wrappers and any(word.rpartition("/")[2] in _PSGI_SERVERS for word in command):
        raise ValueError("the command does not contain {psgi}, so no answer would have X-Revision")
    if len(wrappers) != 1:
        raise ValueError(
            "the command contains exactly one of {psgi}, for a PSGI file, and {script}, for a script of "
            "Mojolicious: they load the app, and add X-Revision to its answers"
        )
    return command


def _root(root: str) -> str:
    return root if root == "." else relative_path(root)


def _perl(path: str) -> str:
    if ".." in path.split("/") or "//" in path or path.startswith(_NO_PLACE):
        raise ValueError(
            "allowed is the path of a program that an app can see in its cage, and cannot change: without "
            f"'..', and not below {', '.join(_NO_PLACE)}"
        )
    return path


class ServerSettings(Section):
    """How the application is started on a droplet."""

    preset: Preset = Preset.STARMAN
    """The web server: `starman`, `starlet`, `twiggy` or `uwsgi` for a PSGI file, or `mojolicious`, the
    prefork server of a Mojolicious app, with WebSockets. Each has its command, its signal to stop, and its
    limits (docs/droplets.md). Starman is on every droplet. The others come with the app's dependencies, or
    with Debian packages in `fleet.packages`: starlet, twiggy, libmojolicious-perl, or uwsgi-core and
    uwsgi-plugin-psgi.
    """
    command: Annotated[Words, AfterValidator(_command)] | None = None
    """A command of your own instead of a preset: a list of words. {listen} is address:port, {workers} the
    number of processes. The command has to run {psgi}, a file that loads `psgi`, or {script}, a file that
    takes the arguments of `script`: both add X-Revision to the app's answers. A program is searched in
    local/bin, beside `perl`, and where Debian has programs. For example [plackup, --server, Gazelle,
    --listen, "{listen}", --max-workers, "{workers}", "{psgi}"].
    """
    stop_signal: StopSignal | None = None
    """The signal after which the server of `command` finishes its requests and ends: SIGHUP, SIGINT, SIGQUIT,
    SIGTERM, SIGUSR1, SIGUSR2 or SIGWINCH. By default SIGQUIT for Starman, Twiggy and Mojolicious' prefork,
    SIGTERM for others.
    """
    root: Annotated[str, AfterValidator(_root)] = "."
    """The app's directory in the repository. It has the dependency files, and the app is built and started in
    it. `psgi`, `script` and `lib` are relative to it.
    """
    psgi: RelativePath = "app.psgi"
    """The PSGI file."""
    script: RelativePath | None = None
    """The script of a Mojolicious app, such as script/my_app. Needed by the preset `mojolicious` and by
    {script}.
    """
    perl: Annotated[AbsolutePath, AfterValidator(_perl)] = DEBIANS_PERL
    """The perl that builds, loads and runs the app. Each droplet needs the same one, where only root can
    change it, and not below /home, which apps cannot see.
    """
    lib: list[RelativePath] = ["lib"]
    """Directories with the app's modules. PERL5LIB has them, and after them local/lib/perl5."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """The port that it listens on, on the droplet's private address."""
    workers: Annotated[int, Field(ge=1, le=512)] = 8
    """Requests that a droplet works on at once; HAProxy sends it no more. There is a worker process for each,
    and one more that answers the health checks when long requests keep the others busy. A process of
    Mojolicious or Twiggy has an event loop, and up to 1,000 connections; Twiggy is one process, whatever
    stands here.
    """
    keep_releases: Annotated[int, Field(ge=2, le=100)] = 5
    """Successful releases kept on each droplet, including the running one. At least 2, so that a rollback is
    possible. The release that a rollback would go to stays in any case.
    """
    stop_timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds that requests in progress have when the service is stopped. A request that takes longer is cut.
    """
    stop_idle_after: Annotated[int, Field(ge=10, le=30 * 86400)] | None = None
    """Seconds after a confirmed switch, or after a failed deploy, until bluegreen_stop_idle__<app> stops the
    idle color, for example 86400. A rollback then has to start it again, which takes some seconds more. At
    least `timeouts.drain`, so that no request is cut that a deploy would wait for. By default the idle
    color stays warm until the next deploy.
    """
    load_timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds that the app may take to load. Each droplet loads a release once before it is started."""
    memory_max: MemoryMax | None = None
    """Memory that the whole service may use, such as 512M or 2G (systemd's MemoryMax). The kernel ends the
    process that asks for more, and the others go on. By default a droplet's whole memory.
    """

    @property
    def runs_script(self) -> bool:
        """Whether the app is a script of Mojolicious; otherwise it is a PSGI file."""
        if self.command is not None:
            return Placeholder.SCRIPT in placeholders(self.command)
        return self.preset is Preset.MOJOLICIOUS

    @property
    def started_from(self) -> str:
        """The script, or the PSGI file, relative to ``root``."""
        return str(self.script) if self.runs_script else self.psgi

    def in_release(self, path: str) -> str:
        """Return a path below ``root`` as one below the release's directory."""
        return path if self.root == "." else f"{self.root}/{path}"

    @property
    def needed_paths(self) -> tuple[str, ...]:
        """Paths in the release without which the app cannot be started."""
        return (*(self.in_release(path) for path in (self.started_from, *self.lib)), self.dependencies)

    @property
    def dependencies(self) -> str:
        """The path of the installed distributions in the release."""
        return self.in_release("local")

    @model_validator(mode="after")
    def _one_way_to_start(self) -> Self:
        """Refuse settings of which one would have no effect."""
        if self.command is not None and "preset" in self.model_fields_set:
            raise ValueError("preset and command are both set; remove one of them")
        if self.stop_signal is not None and self.command is None:
            raise ValueError("stop_signal is for a command of the app's own; each preset has its signal")
        return self

    @model_validator(mode="after")
    def _something_to_start(self) -> Self:
        """Refuse a script that is missing, and one that nothing would run."""
        if self.runs_script and self.script is None:
            raise ValueError("script is missing: the path of the app's script, such as script/my_app")
        if not self.runs_script and self.script is not None:
            raise ValueError(
                "script is for the preset mojolicious and for a command with {script}; remove it"
            )
        if self.runs_script and "psgi" in self.model_fields_set:
            raise ValueError("psgi is not used where script is; remove it")
        return self

    @model_validator(mode="after")
    def _perl_of_the_server(self) -> Self:
        """Refuse another perl for a server that has one built in."""
        if self.command is None and self.preset is Preset.UWSGI and self.perl != DEBIANS_PERL:
            raise ValueError(
                f"perl is {self.perl}, but the preset uwsgi has {DEBIANS_PERL} built in: remove perl, or "
                "choose another server"
            )
        return self


class HealthSettings(Section):
    """What a healthy droplet answers."""

    path: UrlPath = "/health"
    """Asked the way clients ask, see `traffic.public_url`. HAProxy asks both colors for this path, so the
    live release has to answer it as well when it is changed.
    """
    healthy_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    """Good answers in a row, from every droplet, before traffic may move."""
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.2
    """Seconds between two of them."""
    timeout: Annotated[float, Field(ge=1, le=600)] = 60
    """Seconds after which a droplet that did not become healthy fails the deploy."""
