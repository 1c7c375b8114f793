"""A real PSGI server behind a real HAProxy, and requests down to the last byte."""

from __future__ import annotations

import contextlib
import csv
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

from bluegreen.color import Color
from bluegreen.traffic.haproxy_config import Server
from tests.unit.local_haproxy import LocalHaproxy, local_haproxy
from tests.waiting import until

SERVERS = {Color.BLUE: "127.0.0.21", Color.GREEN: "127.0.0.22"}

# Answers with what PSGI made of the request's headers, and with the color that was asked.
APP = """
use JSON::PP;
sub {
    my $env = shift;
    my %seen = map { $_ => "$env->{$_}" } grep { /^(?:HTTP_|CONTENT_|REMOTE_|psgi.url_scheme)/ } keys %$env;
    my $body = JSON::PP->new->ascii->encode(\\%seen);
    [200, ['Content-Type' => 'application/json', 'Content-Length' => length $body], [$body]];
}
"""

Answer = tuple[int, dict[str, str], dict[str, str]]


class PsgiWorld:
    """HAProxy with a Starman for each color; blue is live."""

    def __init__(self, haproxy: LocalHaproxy) -> None:
        self.haproxy = haproxy

    def ask(
        self, headers: str = "", *, source: str = "127.0.8.1", before: str = "", host: str = "example.com"
    ) -> Answer:
        """Send a GET and return status, headers of the answer, and what the app saw.

        :param headers: lines as they are sent, each with its end.
        :param source: the address to come from.
        :param before: bytes before the request, as a managed load balancer sends them.
        """
        request = f"{before}GET / HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: close\r\n\r\n"
        target = "::1" if ":" in source else "127.0.0.1"
        with socket.create_connection((target, self.haproxy.http_port), 10, (source, 0)) as connection:
            connection.sendall(request.encode("latin-1"))
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")
        head, _, body = answer.partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        seen: dict[str, str] = json.loads(body) if fields.get("content-type") == "application/json" else {}
        return int(status.split()[1]), fields, seen

    def seen(self, headers: str = "", **how: Any) -> dict[str, str]:
        """Return what the app saw of a request that it has to get."""
        status, _, seen = self.ask(headers, **how)
        assert status == 200
        return seen


@contextlib.contextmanager
def psgi_world(**settings: Any) -> Iterator[PsgiWorld]:
    """Start both.

    :param settings: for :class:`bluegreen.traffic.haproxy_config.ConfigValues`.
    """
    with local_haproxy() as haproxy:
        port = haproxy.app_port
        for backend in (backend for members in haproxy.backends.values() for backend in members):
            backend.close()
        (haproxy.root / "app.psgi").write_text(APP)
        listen = [word for address in SERVERS.values() for word in ("--listen", f"{address}:{port}")]
        starman = subprocess.Popen(
            ["starman", *listen, "--workers", "4", "--disable-keepalive", str(haproxy.root / "app.psgi")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        servers = {
            color: [Server(f"shop-{color}-1", IPv4Address(SERVERS[color]), port, 4)] for color in Color
        }
        try:
            haproxy.map.write_text("live blue\nidle green\nidle_share 0\n")
            haproxy.start(haproxy.render(servers=servers, **settings))
            world = PsgiWorld(haproxy)
            # HAProxy may have checked before Starman was there.
            until(lambda: _all_up(haproxy), "both colors are healthy")
            yield world
        finally:
            starman.send_signal(signal.SIGTERM)
            starman.wait()


def _all_up(haproxy: LocalHaproxy) -> bool:
    """Whether HAProxy has checked every server and found it healthy."""
    rows = csv.DictReader(haproxy.ask("show stat").removeprefix("# ").splitlines())
    servers = [row for row in rows if row["svname"].startswith("shop-")]
    return bool(servers) and all(row["status"] == "UP" and "OK" in row["check_status"] for row in servers)
