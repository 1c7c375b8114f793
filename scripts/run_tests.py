"""Run the tests that need the sandbox's machines, and beside them all others.

The first mostly wait for machines, and the others keep a processor busy. What the others print follows
at the end.

Usage: run_tests.py [ARGUMENT OF PYTEST…]
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from typing import Any

PYTEST = (
    *(sys.executable, "-m", "pytest"),
    *(f"--ignore=tests/{part}" for part in ("compose", "metrics", "plain_host")),
)
# pytest's exit status if no test was chosen: arguments may choose tests of one kind only.
NO_TESTS = 5


def main(arguments: list[str]) -> int:
    """Return the exit status of pytest, the worse of the two."""
    halves: list[subprocess.Popen[bytes]] = []

    def interrupt(number: int, _frame: object) -> None:
        """Let both take down what they have brought up; they are waited for."""
        for process in halves:
            process.send_signal(signal.SIGINT)

    # Before the halves start: where a shell has started this in the background, SIGINT is ignored, and they
    # would inherit that. A handled signal gets its default back in them.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    with tempfile.TemporaryFile() as printed:
        halves.append(_start("sandbox", arguments))
        halves.append(_start("not sandbox", arguments, stdout=printed, stderr=subprocess.STDOUT))
        statuses = [process.wait() for process in halves]
        printed.seek(0)
        sys.stdout.buffer.write(printed.read())
        sys.stdout.flush()
    return max([abs(status) for status in statuses if status != NO_TESTS], default=NO_TESTS)


def _start(marker: str, arguments: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start pytest where only this process gets the signals of a terminal, so that it passes each on once."""
    return subprocess.Popen([*PYTEST, "-m", marker, *arguments], start_new_session=True, **options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
