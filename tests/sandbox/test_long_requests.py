"""Requests that outlive a switch: downloads and upgraded connections, and the deploys that wait for them."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from demo.environment import APP
from sandbox.traffic_records import read, summarize
from tests.sandbox.stack import SYSTEM_NAME, Judge, Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

BYTES = 1_000_000
UPGRADE = b"GET /upgrade HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
SERVICE = (
    f"readlink /opt/{SYSTEM_NAME}/current;"
    f" systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {SYSTEM_NAME}"
)


@dataclass(frozen=True)
class Download:
    """What a client got.

    :param size: bytes of the body.
    """

    color: str
    size: int
    seconds: float


class Clients:
    """Clients with patience.

    :param address: the proxy's.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._pool = ThreadPoolExecutor()

    def download(self, seconds: int) -> Future[Download]:
        """Start a download; return when its answer has begun."""
        connection = http.client.HTTPConnection(self.address, timeout=30)
        began = time.monotonic()
        connection.request("GET", f"/stream?seconds={seconds}&bytes={BYTES}")
        response = connection.getresponse()
        assert response.status == 200

        def finish() -> Download:
            size = 0
            with closing(connection), suppress(ConnectionError):
                while part := response.read1():
                    size += len(part)
            return Download(response.headers["X-Color"], size, time.monotonic() - began)

        return self._pool.submit(finish)

    @contextmanager
    def upgraded(self) -> Iterator[socket.socket]:
        """A connection that has stopped being HTTP."""
        with socket.create_connection((self.address, 80), timeout=30) as connection:
            connection.sendall(UPGRADE)
            assert connection.recv(4096).startswith(b"HTTP/1.1 101 ")
            yield connection


def echo(connection: socket.socket, word: bytes) -> bytes:
    connection.sendall(word + b"\n")
    return connection.recv(4096)


@pytest.fixture
def clients(stack: Stack) -> Clients:
    return Clients(stack.proxy().address)


@pytest.fixture
def impatient(stack: Stack) -> Iterator[int]:
    """The app's settings, with a drain of so many seconds and a service that stops quickly."""
    file = stack.environment.directory / "apps" / f"{APP}.yaml"
    usual, drain = file.read_text(), 5
    settings = {"timeouts": {"drain": drain}, "server": {"stop_timeout": 1}}
    file.write_text(yaml.safe_dump(yaml.safe_load(usual) | settings))
    yield drain
    file.write_text(usual)


def services(stack: Stack, color: str) -> list[str]:
    """Release and process of each droplet of a color."""
    return [machine.run(SERVICE).stdout for machine in stack.machines(color)]


def wait_for_drain(stack: Stack, run: Any) -> None:
    def draining() -> bool:
        return any((task.task_id, task.state) == ("drain", "running") for task in stack.client.tasks(run))

    until(draining, "the next deploy waits")


def test_a_download_and_an_upgraded_connection_end_whole_and_the_next_deploy_waits_for_them(
    stack: Stack, clients: Clients, judge: Judge
) -> None:
    old, ref, started = stack.live(), stack.live_ref(), time.time()
    download = clients.download(60)
    with clients.upgraded() as connection:
        assert echo(connection, b"before") == f"{ref}: before\n".encode()
        first = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert f"2 requests that began before the switch still run on {old}" in first.report["message"]
        before = services(stack, old)

        next_run = stack.trigger("deploy", ref=str(ref), force=True)
        wait_for_drain(stack, next_run)
        whole = download.result(90)
        assert (whole.color, whole.size) == (old, BYTES)
        assert whole.seconds >= 60
        assert echo(connection, b"after") == f"{ref}: after\n".encode()
        assert services(stack, old) == before
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""

    assert stack.client.wait(next_run) == "success"
    report = stack.client.xcom(next_run, "report", "report")
    drain = report["drain"]
    assert (drain["color"], drain["cut"]) == (old, 0)
    assert drain["seconds"] > drain["waited"] > 0
    assert f"drained {old} in {drain['seconds']:.0f} s, nothing cut" in report["message"]
    assert stack.live() == old
    assert services(stack, old) != before

    seen = summarize(read(judge.records), started, time.time())
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples


def test_what_outlasts_the_drain_is_cut_and_told_of(stack: Stack, clients: Clients, impatient: int) -> None:
    if not all(line.startswith("releases/") for line in services(stack, "blue") + services(stack, "green")):
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    old = stack.live()
    download = clients.download(120)
    # Nothing is waited for by a rollback: it touches no droplet.
    back = stack.run("rollback").expect("live and confirmed")
    assert f"1 request that began before the switch still runs on {old}" in back.report["message"]

    ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    drain = ended.report["drain"]
    assert (drain["color"], drain["cut"]) == (old, 1)
    assert drain["seconds"] >= impatient
    assert f"gave up on 1 request on {old} after {drain['seconds']:.0f} s (cut" in ended.report["message"]
    assert 0 < download.result(5).size < BYTES
