"""What a droplet believes of a release that it has just started, and for how long it listens."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from agent.droplet.health import Service, problem_of
from agent.http_client import Question

REVISION = "a" * 40
GOOD = f"HTTP/1.1 200 OK\r\nX-Revision: {REVISION}\r\n".encode()
BLANK = b"\r\n"

Answer = Callable[[socket.socket, threading.Event], object]


@contextlib.contextmanager
def app(answer: Answer) -> Iterator[tuple[int, list[bytes]]]:
    """Answer each connection in that way; return the port, and the heads of all requests."""
    over, asked = threading.Event(), []

    def serve(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            asked.append(client.recv(4096))
            answer(client, over)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], asked
        over.set()
        listener.shutdown(socket.SHUT_RDWR)


def wait(answer: Answer, statuses: tuple[int, ...] = (), timeout: int = 1) -> tuple[str, list[bytes]]:
    """Return what was wrong, and what was asked."""
    with app(answer) as (port, asked):
        question = Question("/health", "www.example.com", https=True, statuses=statuses)
        return problem_of(Service("127.0.0.1", port, question, REVISION, 3, timeout)), asked


def says(data: bytes) -> Answer:
    return lambda client, _: client.sendall(data)


def drips(data: bytes) -> Answer:
    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(GOOD + data)
        while not over.wait(0.1):
            client.sendall(b"x")

    return answer


def floods(data: bytes, part: bytes) -> Answer:
    def answer(client: socket.socket, over: threading.Event) -> None:
        client.sendall(data)
        while not over.is_set():
            client.sendall(part)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        says(GOOD + b"Content-Length: 2\r\n\r\nok"),
        says(b"HTTP/1.1 204 No Content\nx-revision:" + REVISION.encode() + b"\n\n"),
        drips(b"Content-Length: 1000000\r\n\r\n"),
        floods(GOOD + b"Content-Length: 400000000\r\n\r\n", b"x" * 65536),
        floods(GOOD + BLANK, b"x" * 65536),
    ],
    ids=["good", "nothing to say", "a body that drips", "400 MB", "a body without end"],
)
def test_a_good_head_is_enough_whatever_the_body_is(answer: Answer) -> None:
    problem, asked = wait(answer, timeout=20)
    assert problem == ""
    assert len(asked) == 3


def test_an_app_is_asked_as_clients_ask_it() -> None:
    _, asked = wait(says(GOOD + BLANK), timeout=20)
    assert b"GET /health HTTP/1.1\r\nHost: www.example.com\r\nX-Forwarded-Proto: https\r\n" in asked[0]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (drips(b"X-Drop: "), "it gave no whole head of an answer in time"),
        (lambda _, over: over.wait(), "it gave no whole head of an answer in time"),
        (floods(GOOD, b"X-Line: x\r\n"), "the answer's head is longer than 65536 bytes"),
        (
            says(GOOD + b"X-Huge: " + b"x" * 100_000 + b"\r\n\r\n"),
            "the answer's head is longer than 65536 bytes",
        ),
        (says(b""), "the connection was closed before the answer's head had ended"),
        (says(b"SSH-2.0-OpenSSH\r\n\r\n"), "what came is not HTTP/1.1"),
        (
            says(b"HTTP/1.1 302 Found\r\nX-Revision: " + b"a" * 40 + b"\r\n\r\n"),
            "it answers 302, asked as https://www.example.com/health; see traffic.public_url",
        ),
        (says(b"HTTP/1.1 200 OK\r\n\r\n"), "its answers have no X-Revision"),
        (says(b"HTTP/1.1 200 OK\r\nX-Revision: \x1b[31m" + b"b" * 99 + b"\r\n\r\n"), "revision ?[31mbbb"),
    ],
    ids=["drips", "silent", "endless", "huge", "empty", "no HTTP", "redirect", "nobody", "another"],
)
def test_a_head_that_is_late_huge_or_wrong_is_no_answer(answer: Answer, why: str) -> None:
    problem, _ = wait(answer)
    assert why in problem
    assert "\n" not in problem


def test_nobody_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = Service("127.0.0.1", port, Question("/"), REVISION, 3, 1)
    assert problem_of(service) == "it cannot be reached: Connection refused"


def test_the_settings_may_name_other_statuses() -> None:
    redirect = f"HTTP/1.1 302 Found\r\nX-Revision: {REVISION}\r\n\r\n".encode()
    assert wait(says(redirect), (302, 401), timeout=20)[0] == ""
    assert wait(says(GOOD + BLANK), (302, 401))[0].startswith("it answers 200, asked as ")


def test_an_answer_with_more_headers_than_python_reads_is_a_problem_and_no_crash() -> None:
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    assert wait(says(GOOD + many + BLANK))[0] == "its head cannot be read: got more than 100 headers"
