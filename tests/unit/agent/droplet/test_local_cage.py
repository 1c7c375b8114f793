"""What an app needs beyond the cage counts for its load, in a deploy and in a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.droplet.local_cage import local_properties
from agent.facts import loading
from agent.facts.environment import NO_ENVIRONMENT
from agent.system import CallDeadline
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


def test_a_dry_run_loads_an_app_with_what_its_droplet_adds_and_lets_it_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_in(tmp_path, f"{LOCAL}ProtectSystem=no\nReadOnlyPaths=\n")
    monkeypatch.setattr(loading, "UNITS", str(tmp_path))
    asked: list[str] = []

    def run(_: object, *words: str, **__: object) -> tuple[int, str]:
        asked.extend(words)
        return 0, ""

    monkeypatch.setattr(loading, "run", run)
    request = {"run_user": "x", "app": "app-my_perl_app", "load": "y", "environment": "/none", "cage": CAGE}
    loading.load(CallDeadline("facts", 20), request, NO_ENVIRONMENT)
    said = [word.removeprefix("--property=") for word in asked]
    last = {one.partition("=")[0]: one.partition("=")[2] for one in said}
    assert (last["MemoryDenyWriteExecute"], last["ProtectSystem"], last["ReadOnlyPaths"]) == (
        "no",
        "strict",
        "/run",
    )
