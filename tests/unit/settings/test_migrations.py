"""The commands of a migration: what is refused when the file is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from tests.unit.app_settings import settings_of


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "{expand: sqitch deploy}",
            "expand: found 'sqitch deploy': this is a list of commands, each of them",
        ),
        ("{expand: [sqitch, deploy]}", "a list of words: [[sqitch, deploy]]"),
        ("{expand: [[sqitch, deploy], []]}", "expand.1: found []"),
        ("{expand: [" + "['true'], " * 11 + "]}", "expand: found"),
        ("{status: sqitch status}", "status: found 'sqitch status': a command is a list of words"),
        ("{contract: [sqitch, deploy]}", "contract: found ['sqitch', 'deploy']: this is a list of commands"),
        ("{keep_warm: -1}", "keep_warm: found -1"),
        ("{timeout: 0}", "timeout: found 0"),
        ("{timeout: 7201}", "timeout: found 7201"),
        ("{migrate: [['true']]}", "migrate: unknown key"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path: Path, written: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, replaced={"\nmigrations:\n": f"\nmigrations: {written}\n"})
    assert "shop.yaml: migrations" in str(caught.value)


def test_each_command_is_a_list_of_words(tmp_path: Path) -> None:
    written = "{expand: [[sqitch, deploy, --mode, change], [bash, -c, 'bin/a | bin/b']], timeout: 60}"
    app = settings_of(tmp_path, replaced={"\nmigrations:\n": f"\nmigrations: {written}\n"})
    assert app.migrations.expand == [
        ["sqitch", "deploy", "--mode", "change"],
        ["bash", "-c", "bin/a | bin/b"],
    ]
