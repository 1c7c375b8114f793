"""A part of a droplet's disk is root's, and it is used when nothing else is left."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.droplet import reserve
from agent.droplet.app_paths import AppPaths
from agent.droplet.reserve import RESERVE_MB, check_room, is_full, keep_room, make_room
from agent.paths import Paths
from agent.protocol import AgentError

PLENTY, INODES = 10_000, 500


class Disk:
    """What a disk has free while nothing is reserved on it, and while something is."""

    def __init__(self, app: AppPaths) -> None:
        self.app, self.total = app, 1_000_000
        self.megabytes = self.inodes = PLENTY * 10

    def statvfs(self, _: Path) -> SimpleNamespace:
        is_kept = (self.app.root / "reserve").exists()
        megabytes, inodes = (self.megabytes, self.inodes) if is_kept else (PLENTY, 10 * PLENTY)
        return SimpleNamespace(f_bavail=megabytes << 8, f_frsize=4096, f_files=self.total, f_favail=inodes)


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppPaths:
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    app = AppPaths(Paths(), "app-shop")
    app.root.mkdir(parents=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    (programs / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    return app


@pytest.fixture
def disk(app: AppPaths, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(reserve, "RESERVE_INODES", INODES)
    disk = Disk(app)
    monkeypatch.setattr(os, "statvfs", disk.statvfs)
    return disk


def asked(tmp_path: Path) -> str:
    path = tmp_path / "asked"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize(("megabytes", "inodes"), [(3, PLENTY), (PLENTY, 10)])
def test_room_is_kept_in_bytes_and_in_files_and_used_when_either_is_short(
    app: AppPaths, disk: Disk, tmp_path: Path, megabytes: int, inodes: int
) -> None:
    keep_room(app)
    files = list((app.root / "reserve").iterdir())
    assert sum(one.stat().st_blocks * 512 for one in files) >= RESERVE_MB << 20
    assert len(files) == INODES + 1
    make_room(app)
    assert (app.root / "reserve").exists()
    disk.megabytes, disk.inodes = megabytes, inodes
    make_room(app)
    assert list(app.root.iterdir()) == []
    assert asked(tmp_path) == "stop app-shop.service\n"


def test_room_that_was_half_made_or_half_used_is_removed(app: AppPaths, disk: Disk, tmp_path: Path) -> None:
    for name in ("reserve.old", "reserve.new"):
        (app.root / name / "x").mkdir(parents=True)
    make_room(app)
    assert list(app.root.iterdir()) == []
    assert asked(tmp_path) == ""


def test_a_disk_without_room_is_named_with_what_is_missing(app: AppPaths, disk: Disk) -> None:
    check_room(app)
    (app.root / "reserve").mkdir()
    check_room(app)
    disk.megabytes = 7
    with pytest.raises(
        AgentError, match=r"No space left on the disk of .*/opt/app-shop: 7 MB are free, 100 MB"
    ):
        check_room(app)
    disk.megabytes, disk.inodes = PLENTY, 7
    with pytest.raises(AgentError, match=r"it has room for 7 more files, 2500 are needed"):
        check_room(app)


def test_files_that_are_not_counted_are_no_reason(app: AppPaths, disk: Disk) -> None:
    (app.root / "reserve").mkdir()
    disk.total = disk.inodes = 0
    check_room(app)
    assert not is_full(app.root)


def test_a_full_disk_is_seen_whatever_a_program_says(app: AppPaths, disk: Disk) -> None:
    assert not is_full(app.root, "tar: it failed")
    assert is_full(app.root, "tar: x: Cannot write: No space left on device")
    (app.root / "reserve").mkdir()
    disk.megabytes = 0
    assert is_full(app.root)


def test_a_disk_that_is_too_small_has_no_reserve(
    app: AppPaths, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve, "RESERVE_MB", PLENTY)
    keep_room(app)
    assert list(app.root.iterdir()) == []
