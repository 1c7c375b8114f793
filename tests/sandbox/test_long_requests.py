"""Requests that outlive a switch: downloads and upgraded connections, and the deploys that wait for them."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from sandbox.traffic_records import read, summarize
from tests.sandbox.long_requests import BYTES, Clients
from tests.sandbox.stack import SYSTEM_NAME, Judge, Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

SERVICE = (
    f"readlink /opt/{SYSTEM_NAME}/current;"
    f" systemctl show --property=MainPID,ExecMainStartTimestampMonotonic {SYSTEM_NAME}"
)


def services(stack: Stack, color: str) -> list[str]:
    """Release and process of each droplet of a color."""
    return [machine.run(SERVICE).stdout for machine in stack.machines(color)]


def echo(connection: socket.socket, word: bytes) -> bytes:
    connection.sendall(word + b"\n")
    return connection.recv(4096)


def wait_for_drain(stack: Stack, run: Any) -> None:
    """A task that runs has not looked yet: on a busy machine what it is to wait for may be over by then."""

    def draining() -> bool:
        running = [
            task for task in stack.client.tasks(run) if (task.task_id, task.state) == ("drain", "running")
        ]
        return bool(running) and "waiting up to" in stack.client.log(run, running[0])

    until(draining, "the next deploy waits")


def test_a_download_and_an_upgraded_connection_end_whole_and_the_next_deploy_waits_for_them(
    stack: Stack, judge: Judge
) -> None:
    clients = Clients(stack.proxy().address)
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
