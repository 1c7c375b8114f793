"""One sandbox with a server on which Airflow is installed, and a fleet for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.environment import DemoEnvironment
from sandbox import Sandbox
from tests.plain_host import mirror
from tests.plain_host.host import PlainHost, way_to_the_forge
from tests.sandbox.droplets import Shop
from tests.sandbox.stack import Judge, start_judge, stop_judge


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that is up."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("the sandbox's machines need Linux and root")
    with Sandbox.up(tmp_path_factory.mktemp("sandbox"), tied=True) as box:
        yield box


@pytest.fixture(scope="session")
def shop(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Where to order droplets, and the administrator's key for them."""
    key: Path = tmp_path_factory.mktemp("ssh") / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    return Shop(sandbox, key)


@pytest.fixture(scope="session")
def host(shop: Shop) -> Iterator[PlainHost]:
    """A server with the project's files, and Airflow installed from them."""
    [machine] = shop.order("control", tags=("control",), size="s-4vcpu-8gb")
    machine.wait_ready()
    with mirror.served(shop.box.gateway) as address, way_to_the_forge(machine, shop.box.gateway):
        host = PlainHost(shop, machine, address)
        host.copy_project()
        print(host.install())
        print({unit: round(mebibytes) for unit, mebibytes in host.memory_mib().items()}, "MiB when idle")
        yield host


@pytest.fixture(scope="session")
def environment(
    host: PlainHost, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> DemoEnvironment:
    """An app for the server to deploy, with its connections; there are no droplets yet."""
    environment = DemoEnvironment(sandbox, tmp_path_factory.mktemp("environment"))
    host.prepare(environment)
    # Once more: CI's user gets a role for the app.
    host.install()
    with host.tunnel() as url:
        host.connect(host.client(url), environment)
    return environment


@pytest.fixture(scope="session")
def judge(
    host: PlainHost, environment: DemoEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judge]:
    """Clients that ask the proxy of a fleet with v1 live, all the time."""
    host.provision(environment)
    host.deploy("v1")
    process, judge = start_judge(environment.proxy_url(), tmp_path_factory.mktemp("judge"))
    yield judge
    stop_judge(process)
