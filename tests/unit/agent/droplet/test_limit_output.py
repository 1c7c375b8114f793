"""However much a command writes, a bounded part of it is passed on."""

from __future__ import annotations

import os
import tempfile

import pytest

from agent.droplet.limit_output import pass_on


def passed_on(data: bytes, first: int, last: int) -> bytes:
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(data)
        source.seek(0)
        returned = pass_on(source.fileno(), target.fileno(), first, last)
        assert os.pread(target.fileno(), len(data) + 1000, 0) == returned
    return returned


@pytest.mark.parametrize("data", [b"", b"a\n", b"x" * 15, b"no end"])
def test_output_within_the_bounds_is_passed_on_as_it_is(data: bytes) -> None:
    assert passed_on(data, 10, 5) == data


def test_of_more_output_the_beginning_and_the_end_are_passed_on() -> None:
    said = passed_on(b"begin" + b"x" * 500_000 + b"end", 5, 3)
    assert said == b"begin\n(489 KB of this output are left out here)\nend"
