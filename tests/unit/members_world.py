"""``examples/plack_sessions`` on both colors behind a real HAProxy, with a real Redis."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bluegreen.color import Color
from bluegreen.release.servers import server_of
from tests.unit.app_settings import settings_of
from tests.unit.local_haproxy import ADDRESSES, REVISIONS, Deployed, free_port
from tests.unit.served_release import ServedRelease, skip_unless_installed, wrap
from tests.waiting import until

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/plack_sessions"
NEEDED = ["perl", "-MPlack::Middleware::Session", "-MRedis", "-e", "1"]


def skip_unless_there_are_modules() -> None:
    """Skip a test if this machine does not have what the example needs."""
    if subprocess.run(NEEDED, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("Plack::Middleware::Session or Redis is not installed")
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed")


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A Redis, as the example's environment names it."""
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), "Redis listens")
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextlib.contextmanager
def serving(
    deployed: Deployed, directory: Path, settings: str, variables: Mapping[str, str]
) -> Iterator[None]:
    """Run the example on every droplet, in the place of what has answered there.

    :param settings: lines of the section ``server``.
    :param variables: the environment of the app.
    """
    preset = settings_of(directory, settings).server.preset
    skip_unless_installed(preset)
    with contextlib.ExitStack() as stack:
        for color in Color:
            for number, address in enumerate(ADDRESSES[color]):
                deployed.world.backends[color][number].close()
                home = directory / address
                release = _release(home, settings, REVISIONS[color], address, deployed.world.app_port)
                own = {"STATE_DIRECTORY": str(home), **variables}
                stack.enter_context(release.running(**own))
        up = [True] * len(ADDRESSES[Color.BLUE])
        until(
            lambda: all([one["up"] for one in deployed.status()["servers"][color]] == up for color in Color),
            "HAProxy has noticed",
        )
        yield


def _release(home: Path, settings: str, revision: str, address: str, port: int) -> ServedRelease:
    directory = home / "release"
    shutil.copytree(EXAMPLE, directory)
    wrap(directory, revision)
    server = server_of(settings_of(home, settings), str(directory), f"{address}:{port}")
    return ServedRelease(directory, server, port, address)
