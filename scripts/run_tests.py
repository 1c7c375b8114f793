"""Run all tests, in three runs of pytest beside each other.

The tests that deploy through Airflow mostly wait, and so do those that need machines and no Airflow. Those
that need no machines compute: they have the lowest priority and get what the others leave of the processors,
so that both are busy until the end and no machine waits for a unit test. The first run prints at once; what
the others print follows at the end.

Usage: run_tests.py [ARGUMENT OF PYTEST…]
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
PYTEST = (
    *(sys.executable, "-m", "pytest"),
    *(f"--ignore=tests/{part}" for part in ("compose", "metrics", "page", "plain_host", "tls_proxy")),
    *(f"--ignore=tests/sandbox/{part}" for part in ("benchmark", "examples", "features", "state", "tls")),
)
# Where no test needs machines. To import these only to leave them out takes a processor 6 seconds.
WITHOUT_MACHINES = ("auth", "contract", "unit")
ON_MACHINES = tuple(f"--ignore=tests/{part}" for part in WITHOUT_MACHINES)
# What only computes comes after what drives machines, some of which wait for an answer within seconds.
LATER = ("nice", "--adjustment=5")
# pytest's exit status if no test was chosen: arguments may choose tests of one kind only.
NO_TESTS = 5


def runs() -> list[tuple[str, ...]]:
    """Return the command of each run. The tests of a file stay together: they share fixtures."""
    return [
        (*PYTEST, "-m", "airflow", *ON_MACHINES),
        (*PYTEST, "-m", "sandbox and not airflow", *ON_MACHINES),
        (*LATER, *PYTEST, "-m", "not sandbox", "--numprocesses", "2", "--dist", "loadfile"),
    ]


class Suite:
    """Commands beside each other.

    :param commands: the commands.
    :param outputs: where each of them prints; ``None`` for where this program prints.
    """

    def __init__(self, commands: Sequence[Sequence[str]], outputs: Sequence[IO[bytes] | None]) -> None:
        self._commands = list(zip(commands, outputs, strict=True))
        self._going: list[subprocess.Popen[bytes]] = []
        self._interrupted = False
        self._lock = Lock()
        self.statuses: list[int] = []

    def run(self) -> None:
        """Run everything; fill ``statuses`` with the exit statuses."""
        # A signal's handler interrupts this thread, which therefore never has the lock.
        waiting = [Thread(target=self._run, args=command) for command in self._commands]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join()

    def interrupt(self) -> None:
        """Let pytest take down what it has brought up, and start nothing more."""
        with self._lock:
            self._interrupted = True
            for process in self._going:
                process.send_signal(signal.SIGINT)

    def _run(self, command: Sequence[str], output: IO[bytes] | None) -> None:
        with self._lock:
            if self._interrupted:
                return
            # In another session than the terminal's: a signal from there is passed on, once.
            process = subprocess.Popen(command, start_new_session=True, stdout=output, stderr=output)
            self._going.append(process)
        self.statuses.append(abs(process.wait()))


def main(arguments: list[str]) -> int:
    """Return the exit status of pytest, the worst of all runs."""
    commands = [[*run, *arguments] for run in runs()]
    with ExitStack() as files:
        printed = [files.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        suite = Suite(commands, [None, *printed])
        # Before anything starts: where a shell has started this in the background, SIGINT is ignored, and
        # pytest would inherit that. A handled signal gets its default back in a child.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: suite.interrupt())
        suite.run()
        for output in printed:
            output.seek(0)
            sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    return max((status for status in suite.statuses if status != NO_TESTS), default=NO_TESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
