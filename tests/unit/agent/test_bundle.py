"""The agent as one file: the same bytes everywhere, and nothing but the agent in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.protocol import Verb
from bluegreen.agent_bundle import AGENT_DIRECTORY, agent_bundle, memory_command, pack
from tests.agent_source import PRINT_DIGEST, ROOT, source_files


def copy_of_the_agent(directory: Path) -> Path:
    copy = shutil.copytree(AGENT_DIRECTORY, directory / "agent", copy_function=shutil.copy)
    for path in copy.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o700)
    return copy


def test_a_copy_with_other_dates_and_modes_has_the_same_bytes(tmp_path: Path) -> None:
    assert pack(copy_of_the_agent(tmp_path)) == agent_bundle()


def interpreter(version: str) -> str:
    """Return a Python of this version; without one on this machine, the test is skipped."""
    found = shutil.which(f"python{version}")
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [*([found] if found else []), *map(str, installed.glob(f"{version}.*/bin/python3"))]
    for candidate in candidates:
        done = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if done.stdout.startswith(f"Python {version}."):
            return candidate
    return pytest.skip(f"there is no Python {version} here")


def source_of_another_machine(directory: Path) -> Path:
    """Copy what the zip is made from, as another machine has it: other dates, modes and order."""
    for number, path in enumerate(reversed(list(source_files()))):
        copy = directory / path
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy)
        copy.chmod(0o600)
        os.utime(copy, (1_900_000_000 + number, 1_900_000_000 - number))
    for path in directory.rglob("*"):
        if path.is_dir():
            path.chmod(0o700)
    return directory / "plugins"


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("place", ["a", "café/a longer path"])
def test_another_machine_makes_the_same_bytes(tmp_path: Path, version: str, place: str) -> None:
    plugins = source_of_another_machine(tmp_path / place)
    environment = {
        **{"PYTHONPATH": str(plugins), "PYTHONHASHSEED": "7", "PYTHONDONTWRITEBYTECODE": "1"},
        **{
            "TZ": "Asia/Tokyo",
            "LC_ALL": "tr_TR.UTF-8",
            "SOURCE_DATE_EPOCH": "1000000000",
            "PATH": "/usr/bin",
        },
    }
    # Each file system has an order of its own, which a copy on this one does not show.
    program = (
        "import os, pathlib; os.umask(0o077); rglob = pathlib.Path.rglob; "
        "pathlib.Path.rglob = lambda *about: reversed(list(rglob(*about))); " + PRINT_DIGEST
    )
    command = [interpreter(version), "-c", program]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == agent_bundle().sha256


def test_a_changed_line_changes_the_name(tmp_path: Path) -> None:
    copy = copy_of_the_agent(tmp_path)
    (copy / "system.py").write_text((copy / "system.py").read_text() + "\n")
    assert pack(copy).name != agent_bundle().name


def test_what_python_and_editors_leave_behind_is_not_packed(tmp_path: Path) -> None:
    copy = copy_of_the_agent(tmp_path)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "system.cpython-311.pyc").write_bytes(b"")
    (copy / "system.py~").write_text("")
    assert pack(copy) == agent_bundle()


def test_the_members_are_plain_text(tmp_path: Path) -> None:
    file = tmp_path / agent_bundle().name
    file.write_bytes(agent_bundle().data)
    with zipfile.ZipFile(file) as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.namelist() == sorted(archive.namelist())
        assert archive.read("agent/protocol.py") == (AGENT_DIRECTORY / "protocol.py").read_bytes()


def run(command: Sequence[str], stdin: bytes = b"") -> dict[str, object]:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    answer: dict[str, object] = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1)
    return answer


def test_it_is_run_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / agent_bundle().name
    file.write_bytes(agent_bundle().data)
    assert "usage" in str(run([sys.executable, str(file)])["message"])


@pytest.mark.parametrize("request_text", [b"[]", b"{"])
def test_from_memory_it_reads_its_request_after_itself_and_writes_nothing(
    tmp_path: Path, request_text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    answer = run(memory_command(Verb.PROBE), agent_bundle().compressed + request_text)
    assert answer["error"] == "bad_request"
    assert "not JSON" in str(answer["message"]) or "not a JSON object" in str(answer["message"])
    assert list(tmp_path.iterdir()) == []


def another_version(_sent: bytes) -> bytes:
    """As many bytes as were sent, of which the first are another version."""
    other = zlib.compress(b"another version")
    return other + bytes(len(_sent) - len(other))


@pytest.mark.parametrize(
    "damage", [lambda sent: sent[:-1], lambda sent: sent[:1000] + b"??" + sent[1002:], another_version]
)
def test_an_agent_that_is_damaged_on_its_way_into_memory_does_nothing(
    damage: Callable[[bytes], bytes],
) -> None:
    command, sent = memory_command(Verb.PROBE), damage(agent_bundle().compressed)
    done = subprocess.run(command, input=sent, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"did not arrive as it was sent" in done.stderr
