"""The production stack on a container engine of the test's own; see ``with-engine``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 400
UP_SECONDS = 240


@dataclass(frozen=True)
class Compose:
    """A copy of the project with a ``.env`` of its own.

    :param directory: where it is.
    """

    directory: Path

    def run(self, *words: str, seconds: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``docker compose``."""
        command = ["docker", "compose", *words]
        done = subprocess.run(
            command, cwd=self.directory, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert done.returncode == 0 or not check, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
        return done

    @property
    def settings(self) -> dict[str, str]:
        """What ``.env`` says."""
        lines = (self.directory / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine knows about the containers that run, by service."""
        ids = self.run("ps", "--quiet").stdout.split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        service = "com.docker.compose.service"
        return {one["Config"]["Labels"][service]: one for one in json.loads(shown)}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """A copy of the project after ``make env``, with the stand-in images loaded."""
    if not os.environ.get("DOCKER_HOST", "").startswith("unix:///tmp/bluegreen-engine."):
        pytest.skip("run this by make test-compose, which starts a container engine")
    directory = tmp_path_factory.mktemp("project")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    ):
        if name and (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
    subprocess.run(["tests/compose/stand-in-images", "load"], cwd=ROOT, check=True)
    subprocess.run(["python3", "scripts/make_env.py"], cwd=directory, check=True)
    return Compose(directory)


@pytest.fixture(scope="module")
def stack(project: Compose) -> Iterator[Compose]:
    """The default stack, up and healthy."""
    with up(project):
        yield project


@contextmanager
def up(project: Compose, *profiles: str) -> Iterator[None]:
    """Have the stack up and healthy; remove it afterwards with all that it has."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    everything = ["--profile", "*", "down", "--volumes", "--timeout", "5"]
    project.run(*everything)
    project.run(*chosen, "build", seconds=BUILD_SECONDS)
    try:
        project.run(*chosen, "up", "--detach", "--wait", seconds=UP_SECONDS)
        yield
    finally:
        project.run(*everything)
