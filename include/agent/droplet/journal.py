"""The last words of a unit, as journald has them."""

from __future__ import annotations

import contextlib
import subprocess

from agent.system import parts_of, since_boot

# What is read of them: lines, and bytes. One message may have many megabytes.
LAST_LINES, LAST_BYTES = 20, 1 << 16
# Seconds for journald to read what an app has written, and to find it.
SYNC_SECONDS, READ_SECONDS = 10, 20
# Lines that are put into a message. A longer one is left out: half of a secret would not be hidden.
MESSAGE_LINES, LONGEST_LINE = 3, 2000


def last_lines(match: str) -> bytes:
    """Return the last lines of the journal that match, for example ``--unit=app-shop.service``.

    On a busy machine journald reads first what the app wrote.
    """
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["journalctl", "--sync"], timeout=SYNC_SECONDS, capture_output=True, check=False)
    command = ["journalctl", f"--lines={LAST_LINES}", "--output=cat", "--no-pager", match]
    said = b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as journal:
        with contextlib.suppress(TimeoutError):
            for part in parts_of(journal.stdout, since_boot() + READ_SECONDS):
                said += part
                if len(said) >= LAST_BYTES:
                    break
        journal.kill()
    return said[:LAST_BYTES]


def last_words(match: str) -> str:
    """Return the last lines of the journal that match as one line, for a message."""
    lines = (line.strip() for line in last_lines(match).decode(errors="replace").splitlines())
    return " / ".join([line for line in lines if line and len(line) <= LONGEST_LINE][-MESSAGE_LINES:])
