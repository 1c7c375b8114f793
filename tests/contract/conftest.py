"""The sandbox's API without machines, over TLS, and pydo that talks to it."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from aiohttp import web
from pydo import Client

from sandbox.api.account import Account
from sandbox.api.app import make_app
from sandbox.api.context import LIMITS
from sandbox.api.faults import Fault, Faults
from sandbox.api.limits import Limits
from tests.contract.description import Contract
from tests.contract.fake_edge import FakeEdge
from tests.contract.fake_machines import FakeMachines

TOKEN = "dop_v1_for_tests"


@dataclass
class Api:
    """A running API."""

    url: str
    ca_file: str
    account: Account
    machines: FakeMachines
    edge: FakeEdge
    limits: Limits
    faults: Faults
    loop: asyncio.AbstractEventLoop

    def disturb(self, **fields: Any) -> None:
        self.faults.add(Fault.from_json(fields))

    def client(self, **options: Any) -> Client:
        """Return pydo as production makes it, but for the address and the authority."""
        options = {"token": TOKEN, "connection_timeout": 5, "read_timeout": 5, "retry_total": 0, **options}
        return Client(endpoint=self.url, connection_verify=self.ca_file, **options)

    def send(self, method: str, path: str, token: str = TOKEN, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(
            method, f"{self.url}{path}", headers=headers, verify=self.ca_file, timeout=10, **options
        )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    ready = asyncio.run_coroutine_threadsafe(_start(tmp_path, loop), loop)
    running, runner = ready.result(10)
    yield running
    running.machines.hold.set()
    loop.call_soon_threadsafe(running.faults.clear)
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def _start(directory: Path, loop: asyncio.AbstractEventLoop) -> tuple[Api, web.AppRunner]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    account, machines, edge, faults = Account(), FakeMachines(), FakeEdge(), Faults()
    app = make_app(TOKEN, account, machines, edge, faults)
    runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    return Api(url, str(directory / "ca.pem"), account, machines, edge, app[LIMITS], faults, loop), runner


@pytest.fixture
def contract() -> Contract:
    return Contract()


@pytest.fixture
def client(api: Api, contract: Contract) -> Iterator[Client]:
    """pydo, each exchange of which is held against the description."""
    yield api.client(per_retry_policies=[contract])
    assert contract.checked, "no exchange was checked"


@pytest.fixture(scope="session")
def public_keys(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    directory = tmp_path_factory.mktemp("keys")
    keys = []
    for number in range(2):
        file = directory / f"key{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
        keys.append(file.with_suffix(".pub").read_text().strip())
    return keys
