"""Backup and restore of the stack in containers, without an engine: what is in the file, and whose it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "hosting" / "compose"
# It knows the stack's name, and what a database's dump is.
DOCKER = """\
#!/bin/sh
case "$*" in
    *pg_dump*) echo dump ;;
    *config*) echo "name: bluegreen" ;;
    "volume inspect"*) exit 1 ;;
    *pg_restore*) cat >/dev/null ;;
    *) echo "$*" >>"$0.log" ;;
esac
"""
OTHER = 12345


@dataclass(frozen=True)
class Project:
    """A copy of the project, as far as the two scripts look at it."""

    directory: Path
    programs: Path

    def script(self, name: str, file: Path, user: int | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.directory / "hosting" / "compose" / name), str(file)],
            env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
            user=user,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def started(self) -> list[str]:
        """What the engine was told to start."""
        return (self.programs / "docker.log").read_text().splitlines()


def project(directory: Path) -> Project:
    shutil.copytree(SCRIPTS, directory / "hosting" / "compose")
    programs = directory.with_name(f"{directory.name}-programs")
    programs.mkdir()
    (programs / "docker").write_text(DOCKER)
    (programs / "docker").chmod(0o755)
    return Project(directory, programs)


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """One with all that `make env` writes."""
    made = project(tmp_path / "made")
    (made.directory / "secrets").mkdir()
    (made.directory / "secrets" / "ssh_key").write_text("key")
    (made.directory / ".env").write_text(
        "AIRFLOW_UID=50000\nSSH_KEY_FILE=./secrets/ssh_key\nKNOWN_HOSTS_FILE=secrets/known_hosts\n"
    )
    return made


@pytest.mark.parametrize("path", ["/root/.ssh/id_ed25519", "./secrets/../key", "'~/.ssh/id'"])
def test_a_backup_that_would_lack_the_key_is_not_made(made: Project, tmp_path: Path, path: str) -> None:
    env = made.directory / ".env"
    env.write_text(env.read_text().replace("./secrets/ssh_key", path))
    done = made.script("backup", tmp_path / "file")
    assert done.returncode == 1
    assert "SSH_KEY_FILE is" in done.stderr
    assert "Copy it to secrets/" in done.stderr
    assert not (tmp_path / "file").exists()


def test_a_key_that_is_a_link_is_in_the_backup_itself(made: Project, tmp_path: Path) -> None:
    key = made.directory / "secrets" / "ssh_key"
    (tmp_path / "elsewhere").write_text("key")
    key.unlink()
    key.symlink_to(tmp_path / "elsewhere")
    assert made.script("backup", tmp_path / "file").returncode == 0
    (tmp_path / "elsewhere").unlink()
    restored = project(tmp_path / "restored")
    assert restored.script("restore", tmp_path / "file").returncode == 0
    assert (restored.directory / "secrets" / "ssh_key").read_text() == "key"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users' files")
def test_who_restores_has_files_that_the_containers_can_read(made: Project, tmp_path: Path) -> None:
    assert made.script("backup", tmp_path / "file").returncode == 0
    by_root = project(tmp_path / "by-root")
    done = by_root.script("restore", tmp_path / "file")
    assert done.returncode == 0, done.stderr
    assert (by_root.directory / "secrets" / "ssh_key").stat().st_uid == 50000
    assert (by_root.directory / ".env").stat().st_uid == 0
    # Images may be older than the files.
    assert "--build" in by_root.started[-1]

    # Somebody else, on a machine of his own.
    with tempfile.TemporaryDirectory() as machine:
        by_other = project(Path(machine) / "by-other")
        file = Path(shutil.copy(tmp_path / "file", machine))
        for path in (Path(machine), file, by_other.directory, by_other.programs):
            os.chown(path, OTHER, OTHER)
        done = by_other.script("restore", file, OTHER)
        assert done.returncode == 0, done.stderr
        assert "AIRFLOW_UID=12345\n" in (by_other.directory / ".env").read_text()
        assert (by_other.directory / "secrets" / "ssh_key").stat().st_uid == OTHER


def test_a_laptop_without_gnu_s_tools_has_all_that_the_scripts_use() -> None:
    for name in ("backup", "restore"):
        text = (SCRIPTS / name).read_text()
        assert not re.search(
            r"\b(tar|cp|mv|rm|du|mktemp|chown|chmod|tail|cut|tr|sed) [^|;)\n]*--[a-z]", text
        ), name
        assert "realpath" not in text
