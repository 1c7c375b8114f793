"""Passing on the first bytes of some output and the last ones, and dropping the rest."""

from __future__ import annotations

import os

CHUNK = 1 << 16


def pass_on(source: int, target: int, first: int, last: int) -> bytes:
    """Read a file descriptor to its end, write a bounded part of that to another one, and return that part.

    :param first: bytes that are passed on at once.
    :param last: bytes of the end, which are passed on then.
    """
    passed, tail, left_out = bytearray(), b"", 0

    def write(data: bytes) -> None:
        passed.extend(data)
        while data:
            data = data[os.write(target, data) :]

    while part := os.read(source, CHUNK):
        if first > 0:
            shown = part[:first]
            write(shown)
            first, part = first - len(shown), part[len(shown) :]
        tail += part
        excess = len(tail) - last
        if excess > 0:
            tail, left_out = tail[excess:], left_out + excess
    if left_out:
        write(b"\n(%d KB of this output are left out here)\n" % (1 + left_out // 1024))
    write(tail)
    return bytes(passed)
