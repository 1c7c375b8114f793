"""Our own requests: what becomes of them, and how many there are."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from statistics import median
from typing import Any, ClassVar

import pytest

from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.validation import ValidationSettings
from bluegreen.validation.own_requests import Sample, described, series_of
from bluegreen.validation.sampler import KEY_REFUSED, ProbeClient, ProbeOptions, Sampler, targets_of
from tests.waiting import until

REVISION = "a" * 40
SLOW_SECONDS = 0.2
OPTIONS = ProbeOptions({"Host": "www.example.com", "X-Preview-Key": "k" * 16}, {"/login": [302]})
PROBE_CLIENTS = 4


class _App(BaseHTTPRequestHandler):
    """What becomes of a body is in the path: it is ``cut``, it ``stall``s, it ``trickle``s or is ``endless``.

    So it is with a head, at ``/head``.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            self.take_time()
        if self.path == "/silent":
            # Until the client has had enough.
            self.rfile.read(1)
            self.close_connection = True
            return
        trouble = self.path.rpartition("-")[2] if "-" in self.path else ""
        self.connections.add(self.client_address)
        self.headers_seen.append(dict(self.headers))
        self.close_connection = bool(trouble)
        if self.path.startswith("/head"):
            self._bad_head(trouble)
            return
        statuses = {"/broken": 500, "/old": 301, "/login": 302, "/forbidden": 403, "/refused": 403}
        self.send_response(statuses.get(self.path, 200))
        if self.path != "/refused":
            self.send_header("X-Revision", REVISION)
        self.send_header("Location", "https://www.example.com/\x1b[31m" + "x" * 500)
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\nok\r\n" + (b"" if trouble else b"0\r\n\r\n"))
        else:
            self.send_header("Content-Length", "99999999" if trouble else "2")
            self.end_headers()
            self.wfile.write(b"ok")
        if trouble == "stalls":
            # Until the client has had enough.
            self.rfile.read(1)
        if trouble == "trickles":
            self._go_on(b"1\r\n.\r\n" if self.path.startswith("/chunked") else b".", 0.02)
        if trouble == "endless":
            self._go_on(b"10000\r\n" + b"." * 65536 + b"\r\n")

    def _bad_head(self, trouble: str) -> None:
        if trouble == "no_http":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            return
        if trouble == "is_interim":
            self._go_on(b"HTTP/1.1 100 Continue\r\n\r\n", 0.02)
            return
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if trouble == "is_wide":
            self.wfile.write(b"X-Long: " + b"x" * 100_000 + b"\r\n")
        if trouble == "is_long":
            self._go_on(b"X-Another: line\r\n")
        if trouble == "trickles":
            self._go_on(b"X", 0.02)

    def _go_on(self, part: bytes, pause: float = 0.0) -> None:
        """Until the client has had enough; much longer than any of them may have patience."""
        with suppress(OSError):
            for _ in range(10_000):
                self.wfile.write(part)
                time.sleep(pause)

    connections: ClassVar[set[Any]] = set()
    headers_seen: ClassVar[list[dict[str, str]]] = []
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
def proxy() -> Iterator[Any]:
    """A droplet that answers; its "address" has a port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _App)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield _at(server.server_port)
    server.shutdown()
    server.server_close()


def _at(port: int) -> Any:
    droplet = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("127.0.0.1"), private=None)
    return droplet.model_copy(update={"public": f"127.0.0.1:{port}"})


def test_an_answer_is_remembered_with_whom_and_what_was_asked(proxy: Any) -> None:
    with ProbeClient(OPTIONS) as client:
        sample = client.ask(("/broken", proxy))
    assert (sample.status, sample.revision, sample.path, sample.proxy) == (
        500,
        REVISION,
        "/broken",
        "lb-1",
    )
    assert sample.failed
    assert sample.milliseconds > 0


def test_the_app_is_asked_as_clients_ask(proxy: Any) -> None:
    _App.headers_seen.clear()
    with ProbeClient(OPTIONS) as client:
        client.ask(("/", proxy))
    assert OPTIONS.headers.items() <= _App.headers_seen[0].items()


def test_the_settings_say_which_statuses_are_good(proxy: Any) -> None:
    with ProbeClient(OPTIONS) as client:
        samples = [client.ask((path, proxy)) for path in ("/", "/login", "/old", "/broken")]
    assert [(sample.status, sample.failed) for sample in samples] == [
        (200, False),
        (302, False),
        (301, True),
        (500, True),
    ]


def test_a_preview_that_haproxy_refuses_is_no_release_s_failure(proxy: Any) -> None:
    preview = replace(OPTIONS, by_preview=True)
    with ProbeClient(preview) as client:
        by_app, by_haproxy = client.ask(("/forbidden", proxy)), client.ask(("/refused", proxy))
    assert (by_app.status, by_app.lost) == (403, False)
    assert (by_haproxy.status, by_haproxy.error, by_haproxy.lost) == (None, KEY_REFUSED, True)
    with ProbeClient(OPTIONS) as client:
        assert client.ask(("/refused", proxy)).status == 403


def test_where_a_redirect_leads_is_shown_on_one_line_and_not_at_length(proxy: Any) -> None:
    with ProbeClient(OPTIONS) as client:
        shown = described(client.ask(("/old", proxy)))
    assert shown.startswith("status 301 to https://www.example.com/?[31mxxx")
    assert shown.endswith("…, allowed are 200 to 299")
    assert len(shown) < 200


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/length-is_cut", "status 200, but the body ended 99999997 bytes early"),
        ("/chunked-is_cut", "status 200, but the body broke off: IncompleteRead"),
        ("/length-stalls", "status 200, but the body was not whole after 0.4 s"),
        ("/chunked-stalls", "status 200, but the body was not whole after 0.4 s"),
        ("/length-trickles", "status 200, but the body was not whole after 0.4 s"),
        ("/chunked-trickles", "status 200, but the body was not whole after 0.4 s"),
        ("/slow-stalls", None),
        ("/head-trickles", "no answer after 0.4 s"),
        ("/head-is_interim", "no answer after 0.4 s"),
        ("/head-is_long", "no HTTP: HTTPException"),
        ("/head-is_wide", "no HTTP: LineTooLong"),
        ("/head-no_http", "no HTTP: BadStatusLine"),
    ],
)
def test_an_answer_that_does_not_end_well_is_the_release_s_failure_and_in_time(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, path: str, what: str | None
) -> None:
    monkeypatch.setattr("bluegreen.validation.sampler.TIMEOUT", 0.4)
    with ProbeClient(OPTIONS) as client:
        sample = client.ask((path, proxy))
        # What is left of an answer is not taken for the next one.
        assert client.ask(("/", proxy)).status == 200
    assert (sample.failed, sample.lost) == (True, False)
    if what:
        assert described(sample) == f"no whole answer ({what})"


def test_an_answer_without_an_end_is_given_up_after_some_megabytes(
    proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bluegreen.validation.sampler.TIMEOUT", 60)
    tracemalloc.start()
    with ProbeClient(OPTIONS) as client:
        sample = client.ask(("/chunked-endless", proxy))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert described(sample) == "no whole answer (status 200, but the body is larger than 8 MiB)"
    assert sample.size == pytest.approx(8 << 20, abs=1 << 17)
    assert most < 2 << 20


def test_a_release_some_of_whose_bodies_stall_is_bad(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluegreen.validation.sampler.TIMEOUT", 0.4)
    with ProbeClient(OPTIONS) as client:
        paths = ["/", "/length-stalls"] * 20
        # One path of an app, as the judge knows it.
        new = [replace(client.ask((path, proxy)), path="/") for path in paths]
        before = [client.ask(("/", proxy)) for _ in range(60)]
    [series] = series_of(new, before)
    assert "20 of 40 own requests to / failed (50.0%" in (series.verdict(ValidationSettings()) or "")


@pytest.mark.parametrize("path", ["/", "/chunked"])
def test_a_connection_is_kept_for_the_next_request(proxy: Any, path: str) -> None:
    _App.connections.clear()
    with ProbeClient(OPTIONS) as client:
        assert [client.ask((path, proxy)).status for _ in range(3)] == [200] * 3
    assert len(_App.connections) == 1


def test_an_answer_that_does_not_come_is_the_release_s_failure(
    proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ProbeClient(OPTIONS) as client:
        # Connected already: a busy machine may need the whole time for a connection.
        assert client.ask(("/", proxy)).status == 200
        monkeypatch.setattr("bluegreen.validation.sampler.TIMEOUT", 0.5)
        sample = client.ask(("/silent", proxy))
    assert (sample.error, sample.lost) == ("no answer after 0.5 s", False)


def test_a_proxy_that_is_not_there_is_no_release_s_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = _at(free.getsockname()[1])
    with ProbeClient(OPTIONS) as client:
        assert client.ask(("/", nobody)).lost


def seen(count: int, paths: list[str], proxy: Any, rate: float) -> list[Sample]:
    """Wait until so many requests have been made, however long a busy machine takes for them."""
    with Sampler(targets_of(paths, [proxy]), rate=rate, clients=PROBE_CLIENTS, options=OPTIONS) as sampler:
        until(lambda: len(sampler.samples()) >= count, seconds=60)
        return sampler.samples()


def seconds_of_a_round(samples: list[Sample]) -> float:
    """In which as many requests begin as there are clients: the median, which no single delay changes."""
    begun = sorted(sample.at for sample in samples)
    return median(later - earlier for earlier, later in zip(begun, begun[PROBE_CLIENTS:], strict=False))


def test_every_path_is_asked_equally_often_at_the_rate(proxy: Any) -> None:
    samples = seen(60, ["/", "/a", "/b"], proxy, rate=60)
    # Not more often, however much later on a busy machine.
    assert seconds_of_a_round(samples) > 0.8 * PROBE_CLIENTS / 60
    counts = [sum(sample.path == path for sample in samples) for path in ("/", "/a", "/b")]
    assert max(counts) - min(counts) <= 4


def test_a_slow_path_does_not_keep_the_others_waiting(proxy: Any) -> None:
    _App.most_at_once = 0
    seen(16, ["/slow"], proxy, rate=50)
    assert _App.most_at_once > 1


def test_a_connection_that_was_closed_meanwhile_is_opened_again(proxy: Any) -> None:
    with ProbeClient(OPTIONS) as client:
        assert client.ask(("/", proxy)).status == 200
        for connection in client._http._connections.values():
            assert connection.sock is not None
            connection.sock.shutdown(socket.SHUT_RDWR)
        assert client.ask(("/", proxy)).status == 200


def test_requests_that_hang_at_the_end_are_waited_for(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluegreen.validation.sampler.TIMEOUT", 0.4)
    with Sampler(targets_of(["/length-stalls"], [proxy]), rate=50, clients=4, options=OPTIONS) as sampler:
        until(lambda: len(sampler._threads) == 4)
        time.sleep(0.2)
        assert sampler.samples() == []
        assert [sample.failed for sample in sampler.finish()] == [True] * 4


def test_nothing_to_ask_is_no_trouble() -> None:
    with Sampler([], rate=50, clients=4, options=OPTIONS) as sampler:
        assert sampler.samples() == []
