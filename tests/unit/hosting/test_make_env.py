"""``make env``: secrets of one's own, told to nobody, and never written over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts.make_env import FOR_OTHERS, TEMPLATE, main, new_secrets

ROOT = Path(__file__).resolve().parents[3]


def settings(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))


def test_only_its_owner_can_read_what_is_written(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    for name in (
        ".env",
        "secrets/ssh_key",
        "secrets/known_hosts",
        *(f"secrets/{one}" for one in new_secrets()),
    ):
        # Those of other containers' users have the directory alone to protect them.
        expected = 0o444 if Path(name).name in FOR_OTHERS else 0o600
        assert (tmp_path / name).stat().st_mode & 0o777 == expected, name


def test_every_secret_that_compose_mounts_is_written_and_no_other(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    mounted = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["secrets"]
    assert {each.name for each in (tmp_path / "secrets").iterdir()} == {*mounted, "ssh_key.pub"}
    assert {name: f"./secrets/{name}" for name in new_secrets()} == {
        name: each["file"] for name, each in mounted.items() if name not in ("ssh_key", "known_hosts")
    }


def test_no_secret_is_in_env(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
    text = (tmp_path / ".env").read_text()
    for name in new_secrets():
        assert (tmp_path / "secrets" / name).read_text() not in text, name


def test_what_is_there_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(tmp_path) == 0
    before = (tmp_path / ".env").read_text()
    assert main(tmp_path) == 1
    assert f"{tmp_path}/.env exists and stays as it is" in capsys.readouterr().err
    assert (tmp_path / ".env").read_text() == before


@pytest.mark.parametrize("name", ["ssh_key", "fernet_key"])
def test_an_old_secret_is_not_written_over_though_there_is_no_env(tmp_path: Path, name: str) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / name).write_text("old")
    assert main(tmp_path) == 1
    assert [each.name for each in (tmp_path / "secrets").iterdir()] == [name]
    assert (tmp_path / "secrets" / name).read_text() == "old"
    assert not (tmp_path / ".env").exists()


def test_every_secret_is_strong_and_no_two_machines_have_the_same() -> None:
    first, second = new_secrets(), new_secrets()
    for name in first:
        assert first[name] != second[name], name
        assert len(first[name]) >= 20, name
    assert len(first["jwt_secret"]) >= 64


def test_all_that_compose_demands_is_written() -> None:
    demanded = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yaml").read_text()))
    assert demanded == set(settings(TEMPLATE))


def test_celery_is_one_piece_to_uncomment() -> None:
    lines = TEMPLATE.splitlines()
    at = lines.index("# EXECUTOR=CeleryExecutor")
    assert lines[at - 1] == "# COMPOSE_PROFILES=celery"
