"""One demo at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.errors import DemoError
from demo.world import World


def world(directory: Path) -> World:
    return World(print, directory)


def test_a_second_demo_in_the_same_directory_is_refused(tmp_path: Path) -> None:
    with (
        world(tmp_path).alone(),
        pytest.raises(DemoError, match="another demo is at work"),
        world(tmp_path).alone(),
    ):
        pass


def test_the_next_demo_may_start_when_the_first_has_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with world(tmp_path).alone():
            pass


def test_taking_down_what_was_never_up_is_no_error(tmp_path: Path) -> None:
    assert world(tmp_path).down() is False
