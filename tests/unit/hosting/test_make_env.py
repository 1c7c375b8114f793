"""``make env``: secrets of one's own, told to nobody, and never written over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts.make_env import contents, main

ROOT = Path(__file__).resolve().parents[3]


def settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_only_its_owner_can_read_what_is_written(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    for name in (".env", "secrets/ssh_key", "secrets/known_hosts"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600, name


def test_what_is_there_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path) == 0
    before = (tmp_path / ".env").read_text()
    assert main(tmp_path) == 1
    assert f"{tmp_path}/.env exists and stays as it is" in capsys.readouterr().err
    assert (tmp_path / ".env").read_text() == before


def test_an_old_key_is_not_written_over_though_there_is_no_env(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "ssh_key").write_text("old")
    assert main(tmp_path) == 1
    assert (tmp_path / "secrets" / "ssh_key").read_text() == "old"
    assert not (tmp_path / ".env").exists()


def test_every_secret_is_strong_and_no_two_machines_have_the_same() -> None:
    first, second = settings(contents(50000)), settings(contents(50000))
    for name in [name for name in first if name.endswith(("_KEY", "_SECRET", "_PASSWORD", "_URL"))]:
        assert first[name] != second[name], name
        assert len(first[name]) >= 20, name
    assert len(first["JWT_SECRET"]) >= 64


def test_all_that_compose_demands_is_written() -> None:
    demanded = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yaml").read_text()))
    assert demanded == set(settings(contents(50000)))


def test_celery_is_one_piece_to_uncomment() -> None:
    lines = contents(50000).splitlines()
    at = lines.index("# EXECUTOR=CeleryExecutor")
    assert lines[at - 1] == "# COMPOSE_PROFILES=celery"
