"""Reading within limits of bytes and of time, whatever the other side does.

Standard library only, Python 3.8 or later.
"""

import itertools
import os
import selectors
import stat
import subprocess
import threading
import time

COMMAND_SECONDS = 15
LARGEST_TEXT = 1 << 20
MOST_NAMES = 1000
FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class Deadline:
    """The moment at which Airflow takes a machine that says nothing for lost."""

    def __init__(self, seconds):
        self.ends = time.monotonic() + seconds

    def left(self, seconds):
        """That many seconds, or what is left of the time that all of this may take."""
        return max(1, min(seconds, self.ends - time.monotonic()))


def run(deadline, *command, text="", seconds=COMMAND_SECONDS, env=None, most=LARGEST_TEXT):
    """Return exit status and output; 124 if it took too long or said too much, 127 if there is none such."""
    seconds = deadline.left(seconds)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env
        )
    except OSError as error:
        return 127, str(error)
    feeder = threading.Thread(target=_feed, args=(process.stdin, text.encode()), daemon=True)
    feeder.start()
    output, why = read_to_end(process.stdout, seconds, most)
    if why is None:
        try:
            process.wait(deadline.left(seconds))
        except subprocess.TimeoutExpired:
            why = f"no end within {seconds:.0f} s"
    if why is not None:
        process.kill()
        process.wait()
        process.stdout.close()
        return 124, why
    process.stdout.close()
    return process.returncode, output.decode("utf-8", "replace")


def _feed(pipe, data):
    try:
        with pipe:
            pipe.write(data)
    except OSError:
        # It ended without reading all; its output and status say why.
        return


def read_to_end(pipe, seconds, most):
    """Return what comes from a pipe, and why not all of it was read, or None."""
    ends, parts, size = time.monotonic() + seconds, [], 0
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0, ends - time.monotonic())):
                return b"".join(parts), f"no end within {seconds:.0f} s"
            part = os.read(pipe.fileno(), 65536)
            if not part:
                return b"".join(parts), None
            parts.append(part)
            size += len(part)
            if size > most:
                return b"".join(parts), f"more than {most >> 10} KB of output, of which the rest was not read"


def text_of(path, most=LARGEST_TEXT):
    """Return the text of a regular file, as much as is read of any, or None if there is none."""
    try:
        with open(os.open(path, FILE_FLAGS), encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def names_in(directory):
    """Return the names in a directory, sorted; of a crowd only as many as are ever needed."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.name for entry in itertools.islice(entries, MOST_NAMES))
    except OSError:
        return []
