"""A certificate authority that answers more than anybody needs."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from bluegreen.settings.tls import AcmeSettings
from bluegreen.traffic import acme

BOMB = gzip.compress(b"{" + b" " * (1 << 27), compresslevel=1)


@contextmanager
def authority(headers: dict[str, str], parts: Iterable[bytes]) -> Iterator[str]:
    """A server with one answer for everybody, as long as a client reads it; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            for part in parts:
                try:
                    self.wfile.write(part)
                except OSError:
                    return

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/directory"
    finally:
        server.shutdown()
        server.server_close()


def asked(directory: str) -> str:
    """Order a certificate there; return why there is none."""
    settings = AcmeSettings.model_construct(directory=directory, email="ops@example.com", ca_file=None)
    with pytest.raises(acme.AcmeError) as error:
        acme.order(settings, acme.new_key(), ["www.example.com"], lambda: None)
    return str(error.value)


def test_an_answer_without_an_end_is_given_up() -> None:
    with authority({}, iter(lambda: b" " * (1 << 16), b"")) as directory:
        reason = asked(directory)
    assert reason == (
        f"no certificate for www.example.com from {directory}: its answer to /directory is longer than "
        "1048576 bytes"
    )


def test_an_answer_that_breaks_off_is_one_line() -> None:
    with authority({"Content-Length": "100"}, [b"{"]) as directory:
        reason = asked(directory)
    assert f"from {directory}: it cannot be asked: " in reason
    assert "\n" not in reason


def test_a_compressed_answer_is_measured_by_what_it_would_take() -> None:
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(BOMB))}
    with authority(headers, [BOMB]) as directory:
        tracemalloc.start()
        reason = asked(directory)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert reason.endswith("is longer than 1048576 bytes")
    assert peak < 1 << 26
