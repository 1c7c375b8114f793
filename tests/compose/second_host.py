"""A second host for a worker: here the same engine, but another network, other volumes and an address."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from hosting.sandbox.shared import APP
from tests.compose.conftest import UP_SECONDS, Compose

FIRST, SECOND = "10.99.0.1", "10.99.0.2"


@contextmanager
def worker_on_a_second_host(first: Compose, directory: Path) -> Iterator[Compose]:
    """Have a worker there, and none on the first host.

    :param directory: where the second host has its copy of the project.
    """
    for address in (FIRST, SECOND):
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
    before = (first.directory / ".env").read_text()
    first.set(COMPOSE_FILE="docker-compose.yaml:hosting/compose/publish.yaml", PRIVATE_ADDRESS=FIRST)
    second = Compose(directory / "second")
    subprocess.run(["cp", "-a", first.directory, second.directory], check=True)
    second.set(
        COMPOSE_FILE="docker-compose.yaml:hosting/compose/worker.yaml:tests/compose/second-host.yaml",
        COMPOSE_PROJECT_NAME="second",
        WORKER_ADDRESS=SECOND,
    )
    try:
        first.run("up", "--detach", "--wait", seconds=UP_SECONDS)
        first.run("cp", "sandbox:/srv/shared", str(second.directory / "shared"))
        # The engine gives all of it to whoever copies.
        subprocess.run(
            ["chown", "-R", first.settings["AIRFLOW_UID"], second.directory / "shared"], check=True
        )
        second.run("up", "--detach", "--wait", seconds=UP_SECONDS)
        first.run("stop", "worker", seconds=UP_SECONDS)
        yield second
    finally:
        second.run("down", "--volumes", "--timeout", "5")
        (first.directory / ".env").write_text(before)


def with_a_store(second: Compose, place: str) -> None:
    """Have the second host's copy of the app file name an artifact store."""
    file = second.directory / "shared" / "apps" / f"{APP}.yaml"
    settings = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**settings, "artifacts": {"store": place}}, sort_keys=False))
