"""What a job wrote is shown without the values of the app's environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.droplet.job_log import MOST_BYTES, lines_after
from agent.droplet.mask import Mask, environment_of
from bluegreen.release.release import failure_cause


def shown(directory: Path, log: str, environment: str) -> list[str]:
    """Show a log as a droplet does, and return its lines."""
    (directory / "log").write_text(log)
    (directory / "environment").write_text(environment)
    hide = Mask(environment_of(directory / "environment"))
    lines, position, more = lines_after(directory / "log", 0, goes_on=False, hide=hide)
    assert (position, more) == (len(log.encode()), False)
    return lines


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


def after(path: Path, position: int, *, goes_on: bool = True) -> tuple[list[str], int, bool]:
    return lines_after(path, position, goes_on=goes_on, hide=str)


def test_of_a_job_that_goes_on_whole_lines_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert after(log, 0) == ([], 0, False)
    log.write_text("one\ntwo hal")
    assert after(log, 0) == (["one"], 4, False)
    log.write_text("one\ntwo halves\nthree")
    assert after(log, 4) == (["two halves"], 15, False)
    assert after(log, 15, goes_on=False) == (["three"], 20, False)


def test_a_long_output_is_shown_a_part_at_a_time_and_a_long_line_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * (MOST_BYTES + 10) + "\nlast\n")
    [line], position, more = after(log, 0)
    assert (len(line) < 2100, position, more) == (True, MOST_BYTES, True)
    assert after(log, position) == (["last"], log.stat().st_size, False)
