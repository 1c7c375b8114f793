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
FIGURES = ROOT / "build" / "compose.json"
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

    def set(self, **values: str | None) -> None:
        """Change lines of ``.env``; without a value, a line is removed."""
        env = self.directory / ".env"
        kept = [line for line in env.read_text().splitlines() if line.partition("=")[0] not in values]
        added = [f"{name}={value}" for name, value in values.items() if value is not None]
        env.write_text("\n".join([*kept, *added, ""]))

    def secret(self, name: str) -> str:
        """Return the value of a secret."""
        return (self.directory / "secrets" / name).read_text()

    def containers(self, *which: str) -> dict[str, dict[str, Any]]:
        """What the engine knows about the containers that run, by service.

        :param which: ``--all`` for those that have ended, too.
        """
        ids = self.run("ps", "--quiet", *which).stdout.split()
        shown = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout
        service = "com.docker.compose.service"
        return {one["Config"]["Labels"][service]: one for one in json.loads(shown)}


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """A copy of the project after ``make env``, with the stand-in images loaded.

    Nobody but its owner can read it, as after a clone with umask 077.
    """
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
            for path in (directory / name, *(directory / name).parents):
                if directory in path.parents:
                    path.chmod(path.stat().st_mode & 0o700)
    subprocess.run(["tests/compose/stand-in-images", "load"], cwd=ROOT, check=True)
    subprocess.run(["python3", "scripts/make_env.py"], cwd=directory, check=True)
    apps = directory / "include" / "apps"
    shutil.copy2(apps / "my_perl_app.yaml.example", apps / "my_perl_app.yaml")
    return Compose(directory)


@pytest.fixture(scope="session")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured; written to a file at the end, beside what other runs have measured."""
    measured: dict[str, Any] = {}
    yield measured
    FIGURES.parent.mkdir(exist_ok=True)
    known = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | measured, indent=2) + "\n")


@pytest.fixture(scope="module")
def stack(project: Compose) -> Iterator[Compose]:
    """The default stack, up and healthy."""
    with up(project):
        yield project


@contextmanager
def up(
    project: Compose, *words: str, build: tuple[str, ...] = ("--build",), **settings: str
) -> Iterator[None]:
    """Have the stack up and healthy; remove it afterwards with all that it has.

    :param words: of the command line, before ``up``.
    :param build: after it.
    :param settings: lines of ``.env``, for as long.
    """
    everything = ["--profile", "*", "down", "--volumes", "--timeout", "5"]
    before = (project.directory / ".env").read_text()
    project.run(*everything)
    project.set(**settings)
    try:
        project.run(*words, "up", "--detach", "--wait", *build, seconds=BUILD_SECONDS + UP_SECONDS)
        yield
    finally:
        project.run(*everything)
        (project.directory / ".env").write_text(before)


def forget_images() -> None:
    """Let the next build be a first one; what the images are built on stays."""
    for command in (
        ["docker", "image", "rm", "--force", "bluegreen-airflow", "bluegreen-sandbox"],
        ["docker", "builder", "prune", "--all", "--force"],
    ):
        subprocess.run(command, capture_output=True, check=False, timeout=120)


def memory() -> dict[str, float]:
    """Return what each container takes, and all of them, in MiB."""
    shown = ["docker", "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}"]
    lines = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    taken = {line.split()[0]: mebibytes(line.split()[1]) for line in lines}
    return taken | {"all": round(sum(taken.values()), 1)}


def mebibytes(shown: str) -> float:
    """Read what the engine writes, for example ``1.2GiB``."""
    unit = shown.lstrip("0123456789.")
    return round(
        float(shown.removesuffix(unit)) * {"B": 2**-20, "KiB": 2**-10, "MiB": 1, "GiB": 2**10}[unit], 1
    )
