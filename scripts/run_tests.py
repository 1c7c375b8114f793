"""Run all tests, in two lanes beside each other.

In one lane are the tests that deploy through Airflow: they mostly wait. In the other are first the tests that
need no machines, which keep a processor busy, then those that need machines and no Airflow. What the second
lane prints follows at the end.

Usage: run_tests.py [ARGUMENT OF PYTEST…]
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from threading import Thread
from typing import IO

PYTEST = (
    *(sys.executable, "-m", "pytest"),
    *(f"--ignore=tests/{part}" for part in ("compose", "metrics", "plain_host")),
    *(f"--ignore=tests/sandbox/{part}" for part in ("benchmark", "examples")),
)
# Where no test needs machines. To import these only to leave them out takes a processor 6 seconds.
WITHOUT_MACHINES = ("auth", "contract", "unit")
ON_MACHINES = tuple(f"--ignore=tests/{part}" for part in WITHOUT_MACHINES)
# Arguments of pytest for each run of a lane. The tests of a file stay together, because they share fixtures.
WITH_AIRFLOW = (("-m", "airflow", *ON_MACHINES),)
WITHOUT_AIRFLOW = (
    ("-m", "not sandbox", "--numprocesses", "2", "--dist", "loadfile"),
    ("-m", "sandbox and not airflow", *ON_MACHINES),
)
# pytest's exit status if no test was chosen: arguments may choose tests of one kind only.
NO_TESTS = 5


class Lane:
    """Runs of pytest one after the other.

    :param runs: arguments of pytest for each run.
    :param arguments: further arguments, the same for all runs.
    :param output: where pytest prints; ``None`` for where this program prints.
    """

    def __init__(
        self, runs: Sequence[Sequence[str]], arguments: Sequence[str], output: IO[bytes] | None
    ) -> None:
        self._runs = runs
        self._arguments = arguments
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupted = False
        self.statuses: list[int] = []

    def run(self) -> None:
        """Run everything; fill ``statuses`` with pytest's exit statuses."""
        for run in self._runs:
            if self._interrupted:
                return
            command = [*PYTEST, *run, *self._arguments]
            # In another session than the terminal's: a signal from there is passed on, once.
            self._process = subprocess.Popen(
                command, start_new_session=True, stdout=self._output, stderr=self._output
            )
            # The signal may have come while the process was being started.
            if self._interrupted:
                self.interrupt()
            self.statuses.append(abs(self._process.wait()))

    def interrupt(self) -> None:
        """Let pytest take down what it has brought up, and start nothing more."""
        self._interrupted = True
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)


def main(arguments: list[str]) -> int:
    """Return the exit status of pytest, the worst of all runs."""
    with tempfile.TemporaryFile() as printed:
        lanes = [Lane(WITH_AIRFLOW, arguments, None), Lane(WITHOUT_AIRFLOW, arguments, printed)]

        def interrupt(number: int, _frame: object) -> None:
            for lane in lanes:
                lane.interrupt()

        # Before the lanes start: where a shell has started this in the background, SIGINT is ignored, and
        # pytest would inherit that. A handled signal gets its default back in a child.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        threads = [Thread(target=lane.run) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        printed.seek(0)
        sys.stdout.buffer.write(printed.read())
        sys.stdout.flush()
    statuses = [status for lane in lanes for status in lane.statuses if status != NO_TESTS]
    return max(statuses, default=NO_TESTS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
