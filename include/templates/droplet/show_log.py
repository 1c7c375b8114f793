"""Print what a job wrote since a position, a bounded part of it and nothing of the app's environment.

Its arguments are the log, the position, whether the job goes on, and the app's environment file; on file
descriptor 3 it says the next position, and whether there is more already.
"""

import os
import sys

MOST_BYTES, LONGEST_LINE = 1 << 18, 2000
# How the last line of a job begins that has failed. A value of the environment may be the same word.
CAUSE_MARK = "bluegreen: "


def show(path, position, goes_on, mask):
    """Print lines, whole ones if the job goes on; return the next position, and whether there is more."""
    with open(path, "rb") as log:  # noqa: PTH123
        # One that begins in the middle of a line has the rest of one that was too long.
        log.seek(max(0, position - 1))
        skipping = position > 0 and log.read(1) != b"\n"
        part = log.read(MOST_BYTES)
        more = len(part) == MOST_BYTES
    end = part.rfind(b"\n") + 1 or (len(part) if more else 0)
    if not more and not goes_on:
        end = len(part)
    for number, line in enumerate(part[:end].splitlines()):
        if number == 0 and skipping:
            continue
        text = masked(line.decode(errors="replace").replace("\0", ""), mask)
        print(text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} … ({len(text)} characters)")
    return position + end, more


def masked(line, mask):
    """Return a line without the environment's values, and with the mark of a cause as it is."""
    whole = mask(line)
    if not line.startswith(CAUSE_MARK) or whole.startswith(CAUSE_MARK):
        return whole
    rest = mask(line[len(CAUSE_MARK) :])
    # A value may go beyond the mark.
    return CAUSE_MARK + (rest if whole.endswith(rest) else whole)


def main():
    path, position, goes_on, environment = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    position, more = show(path, int(position), goes_on == "yes", mask_of(environment))  # noqa: F821
    # Who reads that goes on at once.
    sys.stdout.flush()
    os.write(3, f"{position} {'more' if more else ''}\n".encode())


main()
