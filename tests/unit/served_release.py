"""A release whose server really runs, as the plugin's settings have it: its answers, and its end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from bluegreen.release.servers import Server, server_of
from tests.unit.app_settings import settings_of
from tests.waiting import until

WRAPPERS = Path(__file__).resolve().parents[2] / "include/agent/droplet"
REVISION = "0123456789abcdef0123456789abcdef01234567"

# What each preset needs on this machine: words of a command that succeeds if it is there.
NEEDED = {
    "starman": ["perl", "-MStarman", "-e", "1"],
    "starlet": ["perl", "-MPlack::Handler::Starlet", "-e", "1"],
    "twiggy": ["perl", "-MTwiggy", "-e", "1"],
    "mojolicious": ["perl", "-MMojolicious", "-e", "1"],
    "uwsgi": ["uwsgi", "--plugins", "psgi", "--version"],
}

# Answers of each kind. `/held` waits for a file `go` in the release, and says by a file `held` that it does.
PSGI = """
use strict; use warnings;
my $here = '%(directory)s';
my $text = sub { [ $_[0], [ 'Content-Type' => 'text/plain' ], [ $_[1] ] ] };
my %%answers = (
    '/'          => sub { $text->( 200, 'ok' ) },
    '/404'       => sub { $text->( 404, 'nothing' ) },
    '/own'       => sub { [ 200, [ 'X-Revision' => 'own' ], ['ok'] ] },
    '/dies'      => sub { die "boom\\n" },
    '/redirect'  => sub { [ 302, [ Location => '/' ], [] ] },
    '/delayed'   => sub { sub { $_[0]->( $text->( 200, 'later' ) ) } },
    '/streamed'  => sub {
        sub { my $w = $_[0]->( [ 200, [ 'Content-Type' => 'text/plain' ] ] ); $w->write('a'); $w->close }
    },
    '/dies-late' => sub { sub { die "boom\\n" } },
    '/modes'     => sub { $text->( 200, join ' ', @ENV{qw(PLACK_ENV MOJO_MODE DANCER_ENVIRONMENT)} ) },
    '/inc'       => sub { $text->( 200, join "\\n", $^X, @INC ) },
    '/held'      => sub {
        open my $file, '>', "$here/held" or die $!;
        my $end = time + 60;
        select undef, undef, undef, 0.05 while !-e "$here/go" && time < $end;
        $text->( 200, 'whole' );
    },
);
sub { ( $answers{ $_[0]{PATH_INFO} } // $answers{'/404'} )->() };
"""

SCRIPT = """
use Mojolicious::Lite -signatures;
my $here = '%(directory)s';
my $text = sub ($c, $status, $text) { $c->render( text => $text, status => $status ) };
get '/'         => sub ($c) { $c->$text( 200, 'ok' ) };
get '/own'      => sub ($c) { $c->res->headers->header( 'X-Revision' => 'own' ); $c->$text( 200, 'ok' ) };
get '/dies'     => sub ($c) { die "boom\\n" };
get '/redirect' => sub ($c) { $c->redirect_to('/') };
get '/delayed'  => sub ($c) { $c->render_later; Mojo::IOLoop->timer( 0 => sub { $c->$text( 200, '-' ) } ) };
get '/streamed' => sub ($c) { $c->write_chunk( a => sub ($c, @) { $c->finish } ) };
get '/modes'    => sub ($c) { $c->$text( 200, join ' ', map { $_ // '-' } @ENV{qw(PLACK_ENV MOJO_MODE)} ) };
get '/inc'      => sub ($c) { $c->$text( 200, join "\\n", $^X, @INC ) };
get '/scheme'   => sub ($c) { $c->$text( 200, join ' ', $c->url_for('/')->to_abs, $c->tx->remote_address ) };
# It does not block: the worker of this request may have a WebSocket, too.
sub held ($c) {
    return $c->$text( 200, 'whole' ) if -e "$here/go";
    Mojo::IOLoop->timer( 0.05 => sub { held($c) } );
}
get '/held'     => sub ($c) {
    $c->render_later;
    open my $file, '>', "$here/held" or die $!;
    held($c);
};
websocket '/echo' => sub ($c) { $c->on( message => sub ($c, $message) { $c->send($message) } ) };
app->start;
"""


def wrap(directory: Path, revision: str) -> None:
    """Add to a release what a build adds: its revision, and what puts that into each answer."""
    (directory / ".bluegreen").mkdir(parents=True)
    for wrapper in ("revision.psgi", "revision_mojolicious.pl"):
        shutil.copy(WRAPPERS / wrapper, directory / ".bluegreen")
    (directory / "REVISION").write_text(f"{revision}\n")


def skip_unless_installed(preset: str) -> None:
    """Skip a test of a server that this machine does not have."""
    program = NEEDED[preset]
    found = shutil.which(program[0])
    if not found or subprocess.run(program, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"{preset} is not installed")


@dataclass(frozen=True)
class ServedRelease:
    """A release's directory, and how its server is run."""

    directory: Path
    server: Server
    port: int
    address: str = "127.0.0.1"

    @classmethod
    def made(cls, directory: Path, settings: str) -> ServedRelease:
        """Make a release whose app file has these settings in the section ``server``."""
        wrap(directory, REVISION)
        app = settings_of(directory.parent, settings)
        root = directory / app.server.root
        (root / "script").mkdir(parents=True)
        (root / "app.psgi").write_text(PSGI % {"directory": directory})
        (root / "script/app").write_text(SCRIPT % {"directory": directory})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        return cls(directory, server_of(app, str(directory), f"127.0.0.1:{port}"), port)

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.directory.parent / "log"

    def environment(self, variables: dict[str, str]) -> dict[str, str]:
        """Return the service's environment, with this machine's own paths after those of the release."""
        own = {**os.environ, **self.server.environment, **variables}
        for name in ("PATH", "PERL5LIB"):
            own[name] = ":".join(filter(None, [self.server.environment[name], os.environ.get(name, "")]))
        return own

    def load(self, **variables: str) -> subprocess.CompletedProcess[str]:
        """Load the app once."""
        return subprocess.run(
            ["/usr/bin/env", *self.server.load_command],
            cwd=self.server.directory,
            env=self.environment(variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextlib.contextmanager
    def running(self, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run the server, and wait until it answers."""
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                ["/usr/bin/env", *self.server.command],
                cwd=self.server.directory,
                env=self.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            until(lambda: process.poll() is not None or self._answers(), f"it answers; {self.log}")
            assert process.poll() is None, self.log.read_text()
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _answers(self) -> bool:
        try:
            return self.ask("/").startswith("HTTP/1.")
        except OSError:
            return False

    def connection(self, path: str, headers: Sequence[str] = (), method: str = "GET") -> socket.socket:
        """Send a request, and return the connection."""
        connection = socket.create_connection((self.address, self.port), 20)
        lines = [f"{method} {path} HTTP/1.1", "Host: shop", *(headers or ["Connection: close"])]
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        return connection

    def ask(self, path: str, headers: Sequence[str] = (), method: str = "GET") -> str:
        """Return a whole answer, head and body."""
        with self.connection(path, headers, method) as connection:
            return whole_answer(connection)


def whole_answer(connection: socket.socket) -> str:
    """Return what a connection says until its end."""
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()
