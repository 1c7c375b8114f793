"""Passing on the first bytes of some output and the last ones, and dropping the rest, however much that is.

As a program, it passes on its standard input; its arguments are how many bytes come first and how many last.
"""

from __future__ import annotations

import os
import sys

CHUNK = 1 << 16


def pass_on(source: int, target: int, first: int, last: int) -> None:
    """Read a file descriptor to its end, and write a bounded part of that to another one.

    :param first: bytes that are passed on at once.
    :param last: bytes of the end, which are passed on then.
    """
    tail, left_out = b"", 0
    while part := os.read(source, CHUNK):
        if first > 0:
            shown = part[:first]
            _write(target, shown)
            first, part = first - len(shown), part[len(shown) :]
        tail += part
        excess = len(tail) - last
        if excess > 0:
            tail, left_out = tail[excess:], left_out + excess
    if left_out:
        _write(target, b"\n(%d KB of this output are left out here)\n" % (1 + left_out // 1024))
    _write(target, tail)


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


if __name__ == "__main__":
    pass_on(0, 1, int(sys.argv[1]), int(sys.argv[2]))
