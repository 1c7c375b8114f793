"""What the script that deploys a release does on a droplet that is full, or whose app talks without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.deploy_functions import run_functions
from tests.unit.test_release import RELEASE


@pytest.mark.parametrize("ends", ["", "exit 1"])
def test_an_app_s_last_words_are_bounded_in_bytes(tmp_path: Path, ends: str) -> None:
    done = run_functions(
        RELEASE,
        tmp_path,
        "last_words\necho more",
        journalctl=f"head -c 50000000 /dev/zero | tr '\\0' x\n{ends}",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "x" * 65536 + "\nmore\n"


def test_an_app_s_last_words_are_shown_as_they_are(tmp_path: Path) -> None:
    done = run_functions(RELEASE, tmp_path, "last_words", journalctl="echo one; echo two")
    assert done.stdout == "one\ntwo\n"
