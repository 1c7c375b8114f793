"""However much a command writes, a bounded part of it is passed on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bluegreen.agent_bundle import AGENT_DIRECTORY

PROGRAM = AGENT_DIRECTORY / "droplet" / "limit_output.py"


def passed_on(data: bytes, first: int, last: int) -> bytes:
    command = [sys.executable, "-I", str(PROGRAM), str(first), str(last)]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("data", [b"", b"a\n", b"x" * 15, b"no end"])
def test_what_is_within_the_bounds_is_passed_on_as_it_is(data: bytes) -> None:
    assert passed_on(data, 10, 5) == data


def test_of_more_the_beginning_and_the_end_are_passed_on() -> None:
    said = passed_on(b"begin" + b"x" * 500_000 + b"end", 5, 3)
    assert said == b"begin\n(489 KB of this output are left out here)\nend"
