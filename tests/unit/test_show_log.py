"""What a job wrote is shown without the values of the app's environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bluegreen.agent_bundle import agent_text
from bluegreen.release.release import failure_cause
from bluegreen.templates import template_text

PROGRAM = agent_text("droplet/mask.py") + template_text("droplet/show_log.py")


def shown(directory: Path, log: str, environment: str) -> list[str]:
    """Show a log as a droplet does, and return its lines."""
    (directory / "log").write_text(log)
    (directory / "environment").write_text(environment)
    read, write = os.pipe()
    try:
        # The program answers on file descriptor 3.
        command = ["bash", "-c", f'exec 3>&{write}; exec "$@"', "-", sys.executable, "-I", "-c", PROGRAM]
        arguments = [str(directory / "log"), "0", "no", str(directory / "environment")]
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=True, pass_fds=(write,)
        )
        assert os.read(read, 100).decode() == f"{len(log.encode())} \n"
    finally:
        os.close(read)
        os.close(write)
    return done.stdout.splitlines()


@pytest.mark.parametrize("value", ["bluegreen", "bluegreen:"])
def test_a_cause_is_found_also_where_a_value_of_the_environment_is_this_project_s_name(
    tmp_path: Path, value: str
) -> None:
    log = "loading the app\nbluegreen: the app does not load: password hunter22 is wrong\n"
    lines = shown(tmp_path, log, f"DB_NAME={value}\nDB_PASSWORD=hunter22\n")
    assert failure_cause(lines) == "the app does not load: password [DB_PASSWORD] is wrong"


def test_the_name_is_hidden_everywhere_else(tmp_path: Path) -> None:
    log = "connected to bluegreen: failed\nbluegreen: no database bluegreen\n"
    assert shown(tmp_path, log, "DB_NAME=bluegreen\n") == [
        "connected to [DB_NAME]: failed",
        "bluegreen: no database [DB_NAME]",
    ]


def test_a_value_that_begins_like_a_cause_is_hidden(tmp_path: Path) -> None:
    lines = shown(tmp_path, "bluegreen: hunter22\n", "KEY='bluegreen: hunter22'\n")
    assert lines == ["bluegreen: [KEY]"]
