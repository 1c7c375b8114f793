"""Our own requests: what becomes of them, and how many there are."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from statistics import median
from typing import Any, ClassVar

import pytest

from bluegreen.analysis import Sample, said, series_of
from bluegreen.app import ValidationSettings
from bluegreen.fleet import Droplet
from bluegreen.sampler import Sampler, Visitor, targets_of
from tests.waiting import until

REVISION = "a" * 40
SLOW_SECONDS = 0.2
VISITORS = 4


class _App(BaseHTTPRequestHandler):
    """What becomes of a body is in the path: it is ``cut``, it ``stall``s or it ``trickle``s."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.take_time()
        self.send_response(500 if self.path == "/broken" else 200)
        self.send_header("X-Revision", REVISION)
        self.send_header("X-Host", self.headers["Host"])
        trouble = self.path.rpartition("-")[2] if "-" in self.path else ""
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\nok\r\n" + (b"" if trouble else b"0\r\n\r\n"))
        else:
            self.send_header("Content-Length", "20" if trouble else "2")
            self.end_headers()
            self.wfile.write(b"ok")
        self.connections.add(self.client_address)
        self.close_connection = bool(trouble)
        if trouble == "stalls":
            # Until the client has had enough.
            self.rfile.read(1)
        for _ in range(18 if trouble == "trickles" else 0):
            time.sleep(0.05)
            with suppress(OSError):
                self.wfile.write(b".")

    connections: ClassVar[set[Any]] = set()
    at_work: ClassVar[set[Any]] = set()
    most_at_once = 0

    def take_time(self) -> None:
        self.at_work.add(self)
        type(self).most_at_once = max(self.most_at_once, len(self.at_work))
        time.sleep(SLOW_SECONDS)
        self.at_work.discard(self)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def balancer() -> Iterator[Any]:
    """A droplet that answers; its "address" has a port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield _at(server.server_port)
    server.shutdown()
    server.server_close()


def _at(port: int) -> Any:
    droplet = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("127.0.0.1"), private=None)
    return droplet.model_copy(update={"public": f"127.0.0.1:{port}"})


def test_an_answer_is_remembered_with_whom_and_what_was_asked(balancer: Any) -> None:
    with Visitor() as visitor:
        sample = visitor.ask(("/broken", balancer))
    assert (sample.status, sample.revision, sample.path, sample.load_balancer) == (
        500,
        REVISION,
        "/broken",
        "lb-1",
    )
    assert sample.failed
    assert sample.milliseconds > 0


@pytest.mark.parametrize("path", ["/length-is_cut", "/chunked-is_cut"])
def test_a_body_that_ends_short_is_the_release_s_failure(balancer: Any, path: str) -> None:
    with Visitor() as visitor:
        sample = visitor.ask((path, balancer))
    assert (sample.failed, sample.lost) == (True, False)
    assert said(sample) == "no whole answer (status 200, but the body broke off: ProtocolError)"


@pytest.mark.parametrize("path", ["/length-stalls", "/chunked-stalls"])
def test_a_body_that_stalls_is_the_release_s_failure(
    balancer: Any, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("bluegreen.sampler.TIMEOUT", 0.2)
    with Visitor() as visitor:
        sample = visitor.ask((path, balancer))
    assert (sample.failed, sample.lost) == (True, False)
    assert said(sample) == "no whole answer (status 200, but the body broke off: ReadTimeoutError)"


def test_a_body_that_trickles_in_is_given_up(balancer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluegreen.sampler.TIMEOUT", 0.3)
    with Visitor() as visitor:
        sample = visitor.ask(("/length-trickles", balancer))
    assert (sample.failed, sample.lost) == (True, False)
    assert sample.milliseconds > 300
    assert said(sample) == "no whole answer (status 200, but the body was not whole after 0.3 s)"


def test_a_release_some_of_whose_bodies_stall_is_bad(balancer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluegreen.sampler.TIMEOUT", 0.1)
    with Visitor() as visitor:
        paths = ["/", "/length-stalls"] * 20
        # One path of an app, as the judge knows it.
        new = [replace(visitor.ask((path, balancer)), path="/") for path in paths]
        before = [visitor.ask(("/", balancer)) for _ in range(60)]
    [series] = series_of(new, before)
    assert "20 of 40 own requests to / failed (50.0%" in (series.verdict(ValidationSettings()) or "")


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_a_connection_is_kept_for_the_next_request(balancer: Any, path: str) -> None:
    _App.connections.clear()
    with Visitor() as visitor:
        assert [visitor.ask((path, balancer)).status for _ in range(3)] == [200] * 3
    assert len(_App.connections) == 1


def test_an_answer_that_does_not_come_is_the_release_s_failure(
    balancer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bluegreen.sampler.TIMEOUT", 0.05)
    with Visitor() as visitor:
        sample = visitor.ask(("/slow", balancer))
    assert (sample.error, sample.lost) == ("ReadTimeout", False)


def test_a_load_balancer_that_is_not_there_is_no_release_s_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = _at(free.getsockname()[1])
    with Visitor() as visitor:
        assert visitor.ask(("/", nobody)).lost


def seen(count: int, paths: list[str], balancer: Any, rate: float) -> list[Sample]:
    """Wait until so many requests have been made, however long a busy machine takes for them."""
    with Sampler(targets_of(paths, [balancer]), rate=rate, visitors=VISITORS) as sampler:
        until(lambda: len(sampler.samples()) >= count, seconds=60)
        return sampler.samples()


def seconds_of_a_round(samples: list[Sample]) -> float:
    """In which as many requests begin as there are visitors: the median, which no single delay changes."""
    begun = sorted(sample.at for sample in samples)
    return median(later - earlier for earlier, later in zip(begun, begun[VISITORS:], strict=False))


def test_every_path_is_asked_equally_often_at_the_rate(balancer: Any) -> None:
    samples = seen(60, ["/", "/a", "/b"], balancer, rate=60)
    # Not more often, however much later on a busy machine.
    assert seconds_of_a_round(samples) > 0.8 * VISITORS / 60
    counts = [sum(sample.path == path for sample in samples) for path in ("/", "/a", "/b")]
    assert max(counts) - min(counts) <= 4


def test_a_slow_path_does_not_keep_the_others_waiting(balancer: Any) -> None:
    _App.most_at_once = 0
    seen(16, ["/slow"], balancer, rate=50)
    assert _App.most_at_once > 1


def test_nothing_to_ask_is_no_trouble() -> None:
    with Sampler([], rate=50, visitors=4) as sampler:
        assert sampler.samples() == []
