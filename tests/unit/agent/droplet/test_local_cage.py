"""What an app needs beyond the cage counts for its load."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.droplet.local_cage import local_properties
from bluegreen.release.cage import CAGE

LOCAL = "[Service]\nMemoryDenyWriteExecute=no\nLimitCORE=infinity\nReadWritePaths=/\n"


def drop_in(directory: Path, text: str) -> Path:
    path = directory / "app-my_perl_app.service.d" / "local.conf"
    path.parent.mkdir()
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (LOCAL, ["MemoryDenyWriteExecute=no"]),
        ("[Unit]\nUMask=0\n[Service]\n# UMask=1\n;UMask=2\n UMask = 0027 \n", ["UMask=0027"]),
        ("[Service]\nSystemCallFilter=@a \\\n# why\n  @b\nUMask=0\n", ["SystemCallFilter=@a  @b", "UMask=0"]),
        ("[Service]\nProtectHome=\nno assignment\n=\n", ["ProtectHome="]),
        ("UMask=0\n", []),
        ("[Service]\nUMask=0", ["UMask=0"]),
        ("", []),
    ],
)
def test_of_a_drop_in_counts_what_is_in_the_cage(tmp_path: Path, text: str, found: list[str]) -> None:
    assert local_properties(str(drop_in(tmp_path, text)), CAGE) == found


def test_a_drop_in_that_is_not_root_s_alone_does_not_count(tmp_path: Path) -> None:
    path = drop_in(tmp_path, LOCAL)
    path.chmod(0o664)
    assert local_properties(str(path), CAGE) == []
    link = tmp_path / "link"
    path.chmod(0o644)
    link.symlink_to(path)
    assert local_properties(str(link), CAGE) == []
    assert local_properties(str(tmp_path), CAGE) == []
    assert local_properties("/dev/zero", CAGE) == []
