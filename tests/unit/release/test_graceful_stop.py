"""The page on stopping, compared with real servers: a preset's command, its signal, and work in progress.

Servers that this machine does not have are skipped.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bluegreen.settings.server import Preset
from tests.unit.served_release import ServedRelease, skip_unless_installed, whole_answer
from tests.unit.websockets import echoed, opened
from tests.waiting import until

PAGE = Path(__file__).resolve().parents[3] / "docs/graceful-stop.md"
# Seconds that the servers have, server.stop_timeout: more than a test needs to look, on a busy machine.
STOP_TIMEOUT = 30
# Seconds that an end may take beyond that; and that Twiggy, which may not end by itself, is waited for.
MARGIN, TWIGGYS_END = 30, 3
# Seconds without an answer, or an end, after which there will be none: more than a busy machine takes.
SILENCE = 4
# What the page calls the outcomes.
FINISHED, CUT, ANSWERED, NEVER, NONE = "finished", "cut", "answered", "never there", "none"
OPEN_THEN_CUT = "open until `server.stop_timeout`, then cut"
# By the words of the page. `work` takes a moment, and prints when it begins and when it is done.
WORKERS = {
    "ends its loop on the signal": "$SIG{TERM} = sub { $ended = 1 }; work() while !$ended;",
    "does not know the signal": "work() while 1;",
}
WORK = r"""
my $ended = 0; $| = 1;
sub work {
    print "at work\n";
    my $end = time + 2;
    select undef, undef, undef, 0.1 while time < $end;
    print "done\n";
}
"""


def rows(first: str) -> dict[str, list[str]]:
    """Return the cells of a table of the page by the first cell of each row.

    :param first: the heading of the first column.
    """
    lines = PAGE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = lines[start + 2 : lines.index("", start)]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return {row[0].strip(" `"): row[1:] for row in cells}


SERVERS = rows("`server.preset`")


class Stopped:
    """A server that is stopped as systemd stops it, with ``KillMode=mixed``.

    The signal goes to the main process. When that has ended, or after ``server.stop_timeout``, all others are
    killed.
    """

    def __init__(self, preset: str, directory: Path) -> None:
        script = "\nscript: script/app" if preset == "mojolicious" else ""
        settings = f"preset: {preset}\nworkers: 2{script}\nstop_timeout: {STOP_TIMEOUT}"
        self.release = ServedRelease.made(directory / "release", settings)
        self.preset = preset
        self.killed_after_timeout = False

    def outcomes(self) -> list[str]:
        """Return what becomes of a request, an idle connection, a WebSocket, a new connection."""
        release = self.release
        # By default Mojolicious closes an idle connection after 5 s, a silent one after 30, stop or no stop.
        patient = {"MOJO_KEEP_ALIVE_TIMEOUT": "120", "MOJO_INACTIVITY_TIMEOUT": "120"}
        with release.running(**patient) as process, contextlib.ExitStack() as stack:
            self._takes_signals()
            idle = stack.enter_context(release.connection("/", ["Connection: keep-alive"]))
            kept = _stays_open(idle)
            web = stack.enter_context(self._websocket())
            held = stack.enter_context(release.connection("/held"))
            until((release.directory / "held").exists, "the request is in progress")
            process.send_signal(signal.Signals[release.server.stop_signal])
            new = until(lambda: self._not_answered(stack), "no new request is answered at once")
            asked_again = kept and _sent(idle)
            assert not _readable(held, 0), "it is cut at once"
            assert process.poll() is None
            still_open = web is not None and echoed(web)
            (release.directory / "go").touch()
            finished = FINISHED if "whole" in whole_answer(held) else CUT
            between = _answer(idle) if asked_again else (CUT if kept else NEVER)
            self._end(process)
            return [finished, between, self._end_of(web, still_open), _answer(new)]

    def _takes_signals(self) -> None:
        if self.preset == "uwsgi":
            # Its main process takes the signal a moment after its workers answer.
            log = self.release.log
            until(lambda: "gracefully_kill_them_all" in log.read_text(), "it takes the signal")

    @contextlib.contextmanager
    def _websocket(self) -> Iterator[socket.socket | None]:
        if self.preset != "mojolicious":
            yield None
            return
        with opened(self.release) as (connection, _):
            yield connection

    def _not_answered(self, stack: contextlib.ExitStack) -> socket.socket | None:
        """Return a connection whose request is not answered: every process has the signal."""
        connection = stack.enter_context(self.release.connection("/"))
        return None if _readable(connection, SILENCE) else connection

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TWIGGYS_END if self.preset == Preset.TWIGGY else STOP_TIMEOUT + MARGIN)
        self.killed_after_timeout = process.poll() is None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    @staticmethod
    def _end_of(web: socket.socket | None, still_open: bool) -> str:
        if web is None:
            return NONE
        return OPEN_THEN_CUT if still_open and _answer(web) == CUT else CUT


def _readable(connection: socket.socket, seconds: float) -> bool:
    return bool(select.select([connection], [], [], seconds)[0])


def _stays_open(connection: socket.socket) -> bool:
    """Read the answer to a first request; return whether another one may follow."""
    answer = b""
    while not answer.endswith(b"ok"):
        part = connection.recv(65536)
        if not part:
            return False
        answer += part
    return not _readable(connection, SILENCE)


def _sent(connection: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
        return True
    return False


def _answer(connection: socket.socket) -> str:
    """Return whether a connection brings an answer before it ends."""
    with contextlib.suppress(OSError):
        return ANSWERED if connection.recv(65536).startswith(b"HTTP/1.") else CUT
    return CUT


def test_the_page_has_each_preset() -> None:
    assert list(SERVERS) == [str(preset) for preset in Preset] or set(SERVERS) == set(Preset)


@pytest.mark.parametrize("preset", Preset)
def test_what_becomes_of_work_in_progress_is_what_the_page_says(tmp_path: Path, preset: Preset) -> None:
    skip_unless_installed(preset)
    stop_signal, *described = SERVERS[preset]
    stopped = Stopped(preset, tmp_path)
    assert stop_signal == f"`{stopped.release.server.stop_signal}`"
    seen = stopped.outcomes()
    allowed = [cell.split(" or ") for cell in described]
    assert all(word in cell for word, cell in zip(seen, allowed, strict=True)), seen
    # Twiggy 0.1026 finishes the request, and may go on running. Mojolicious waits for its WebSocket.
    assert not stopped.killed_after_timeout or preset is Preset.TWIGGY


@pytest.mark.parametrize("worker", WORKERS)
def test_what_becomes_of_a_job_in_progress_is_what_the_page_says(worker: str) -> None:
    [described] = rows("a worker that")[worker]
    process = subprocess.Popen(
        ["perl", "-e", f"{WORK}{WORKERS[worker]}"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        process.wait(60)
    assert rest == {FINISHED: "done\n", CUT: ""}[described]
