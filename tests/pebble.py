"""Pebble, Let's Encrypt's certificate authority for tests, and the DNS server that it asks."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import trustme

from tests.waiting import until


@dataclass(frozen=True)
class Pebble:
    """A certificate authority that is running.

    :param directory: the URL of its directory.
    :param ca_file: the certificate by which its own server is trusted.
    :param process: its process.
    """

    directory: str
    ca_file: Path
    management: str
    dns_management: str
    process: subprocess.Popen[bytes]

    def publish(self, name: str, value: str) -> None:
        """Let a name have a TXT record."""
        record = {"host": f"{name}.", "value": value}
        requests.post(f"{self.dns_management}/set-txt", json=record, timeout=10).raise_for_status()

    def lead(self, name: str, *addresses: str) -> None:
        """Let a name lead to some addresses, instead of to the default one."""
        record = {"host": f"{name}.", "addresses": list(addresses)}
        requests.post(f"{self.dns_management}/add-a", json=record, timeout=10).raise_for_status()

    def root(self) -> str:
        """Return the certificate by which clients trust what it issues."""
        answer = requests.get(f"{self.management}/roots/0", verify=str(self.ca_file), timeout=10)
        answer.raise_for_status()
        return answer.text


def _free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def pebble(
    directory: Path, leads_to: str, http_port: int = 80, days: int = 90, name_server: str = ""
) -> Iterator[Pebble]:
    """Run it.

    :param leads_to: the address of every name.
    :param http_port: where it asks for the answers to its challenges.
    :param days: for which its certificates are valid.
    :param name_server: address and port of the server that it asks for names, instead of its own.
    """
    if not shutil.which("pebble") or not shutil.which("pebble-challtestsrv"):
        pytest.skip("pebble is not installed")
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1", "localhost")
    ca_file, certificate, key = (directory / name for name in ("ca.pem", "pebble.pem", "pebble.key"))
    authority.cert_pem.write_to_path(str(ca_file))
    own.cert_chain_pems[0].write_to_path(str(certificate))
    own.private_key_pem.write_to_path(str(key))
    api, management, dns, dns_management = (_free_port() for _ in range(4))
    config = directory / "pebble.json"
    settings = {
        "listenAddress": f"127.0.0.1:{api}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": 1,
        "certificateValidityPeriod": days * 86400,
    }
    config.write_text(json.dumps({"pebble": settings}))
    nowhere = [f"-{one}=" for one in ("http01", "https01", "tlsalpn01", "defaultIPv6")]
    commands = [
        [
            *("pebble-challtestsrv", f"-dns01=127.0.0.1:{dns}", f"-management=127.0.0.1:{dns_management}"),
            *(f"-defaultIPv4={leads_to}", *nowhere),
        ],
        ["pebble", "-config", str(config), "-dnsserver", name_server or f"127.0.0.1:{dns}"],
    ]
    # It sleeps before it validates, and refuses good nonces, unless it is kept from that.
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((directory / "pebble.log").open("wb"))
        processes = []
        for command in commands:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        url = f"https://127.0.0.1:{api}/dir"
        until(lambda: _answers(url, ca_file), "Pebble answers")
        yield Pebble(
            url,
            ca_file,
            f"https://127.0.0.1:{management}",
            f"http://127.0.0.1:{dns_management}",
            processes[1],
        )


def _answers(url: str, ca_file: Path) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, verify=str(ca_file), timeout=2).ok
    return False
