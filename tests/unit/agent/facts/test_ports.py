"""Trying the ports of other machines: open, refused, or not answered at all."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Thread

import pytest

from agent.facts import ports
from agent.facts.ports import NO_ANSWER, OPEN, REFUSED, Port, ports_in, try_ports
from agent.protocol import AgentError
from tests.waiting import until

LOCAL = "127.0.0.1"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server((LOCAL, 0), backlog=5) as server:
        yield server


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A listener whose queue is full, so that the kernel drops what comes, as a firewall would."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server((LOCAL, 0), backlog=0))
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def unused() -> int:
    with socket.create_server((LOCAL, 0)) as server:
        return port_of(server)


def test_each_port_is_open_or_refused_or_does_not_answer(
    listener: socket.socket, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "SECONDS", 0.2)
    there, nobody, full = port_of(listener), unused(), port_of(silent)
    tried = [Port(LOCAL, there, True), Port(LOCAL, nobody, True), Port(LOCAL, full, False)]
    assert try_ports(tried) == {
        f"{LOCAL}:{there}": OPEN,
        f"{LOCAL}:{nobody}": REFUSED,
        f"{LOCAL}:{full}": NO_ANSWER,
    }


def test_a_connection_is_closed_at_once_so_that_no_worker_of_an_app_waits_for_a_request(
    listener: socket.socket, silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "SECONDS", 60.0)
    tried = [Port(LOCAL, port_of(listener), False), Port(LOCAL, port_of(silent), False)]
    thread = Thread(target=try_ports, args=(tried,), daemon=True)
    thread.start()
    accepted, _ = listener.accept()
    with accepted:
        accepted.settimeout(30)
        assert accepted.recv(1) == b""
    assert thread.is_alive()
    # With room in the queue, the kernel's next packet is answered.
    silent.settimeout(0.2)

    def ended() -> bool:
        with suppress(TimeoutError):
            silent.accept()[0].close()
        return not thread.is_alive()

    until(ended)


@pytest.mark.parametrize(("is_wanted", "tries"), [(True, 2), (False, 1)])
def test_only_what_should_be_reached_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, is_wanted: bool, tries: int
) -> None:
    tried: list[list[Port]] = []

    def lossy(asked: list[Port]) -> dict[Port, str]:
        tried.append(list(asked))
        return dict.fromkeys(asked, NO_ANSWER if len(tried) == 1 else OPEN)

    monkeypatch.setattr(ports, "_try", lossy)
    port = Port(LOCAL, 22, is_wanted)
    assert try_ports([port]) == {f"{LOCAL}:22": OPEN if is_wanted else NO_ANSWER}
    assert tried == [[port]] * tries


def test_what_this_machine_cannot_try_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("socket.socket", none_left)
    assert try_ports([Port(LOCAL, 22, True)]) == {}


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [{"address": LOCAL, "port": 22, "is_wanted": True}] * 501,
        [{"address": "example.com", "port": 22, "is_wanted": True}],
        [{"address": LOCAL, "port": 0, "is_wanted": True}],
        [{"address": LOCAL, "port": True, "is_wanted": True}],
        [{"address": LOCAL, "port": 22}],
        ["22"],
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_names_no_ports_is_refused(asked: object) -> None:
    with pytest.raises(AgentError, match=r"^ports: "):
        ports_in({"ports": asked})


def test_a_port_is_read_from_a_request() -> None:
    asked = {"ports": [{"address": LOCAL, "port": 8080, "is_wanted": False}]}
    assert ports_in(asked) == [Port(LOCAL, 8080, False)]
