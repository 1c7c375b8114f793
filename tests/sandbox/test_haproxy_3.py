"""The same configuration and the same agent with HAProxy 3.0, which Debian 13 has."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from sandbox import image
from tests.unit.local_haproxy import Deployed, local_haproxy

pytestmark = pytest.mark.sandbox

CHECK = Path(__file__).resolve().parents[2] / "scripts" / "check_haproxy_templates.py"


@pytest.fixture(scope="module")
def path_with_haproxy_3(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a PATH on which ``haproxy`` is the one of the Debian 13 image, with that image's libraries."""
    root = image.ensure("trixie")
    loader = next(root.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = next(root.glob("usr/lib/*-linux-gnu"))
    program = tmp_path_factory.mktemp("haproxy-3") / "haproxy"
    # It starts itself again at a reload, by the name that it was called.
    command = [
        str(loader),
        "--argv0",
        "haproxy",
        "--library-path",
        str(libraries),
        str(root / "usr/sbin/haproxy"),
    ]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


@pytest.fixture
def deployed_3(path_with_haproxy_3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    """Return a proxy with HAProxy 3.0, and blue live and confirmed."""
    monkeypatch.setenv("PATH", path_with_haproxy_3)
    with local_haproxy() as world:
        yield Deployed(world)


def test_the_rendered_configuration_is_valid(path_with_haproxy_3: str) -> None:
    environment = {**os.environ, "PATH": path_with_haproxy_3}
    done = subprocess.run(
        [sys.executable, CHECK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("valid") == done.stdout.count("\n") > 0


def test_traffic_moves_and_comes_back(deployed_3: Deployed) -> None:
    assert ProxyStatus.parse(deployed_3.status()).version >= (3, 0)
    deployed_3.switch(Color.GREEN)
    assert deployed_3.world.get()[:2] == (200, "green")
    assert deployed_3.world.get(host="green.example.com")[:2] == (200, "blue")
    assert deployed_3.world.ok("revert", token=deployed_3.token)["reverted"]
    assert deployed_3.world.get()[:2] == (200, "blue")


def test_a_reload_is_verified_and_one_that_fails_is_taken_back(deployed_3: Deployed) -> None:
    world = deployed_3.world
    assert not deployed_3.sync(world.render())["reloaded"]
    assert deployed_3.sync(world.render(timeout_server=51))["reloaded"]
    good = world.config.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        occupied = good.replace(
            f"bind 127.0.0.1:{world.http_port}\n",
            f"bind 127.0.0.1:{world.http_port}\n    bind 127.0.0.1:{taken.getsockname()[1]}\n",
        )
        assert world.refused("sync", **deployed_3.sync_request(occupied))[0] == "reload_failed"
    assert world.config.read_text() == good
    assert world.get()[:2] == (200, "blue")
    assert world.refused("sync", **deployed_3.sync_request(good + "blub\n"))[0] == "invalid_config"
