"""A wildcard certificate by DigitalOcean's DNS, through the scheduler."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.dns_server import PORT
from tests.pebble import Pebble, pebble
from tests.sandbox.app_file import settings
from tests.sandbox.stack import Stack
from tests.sandbox.tls.conftest import traffic

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

DOMAIN = "wild.example.org"


@pytest.fixture
def dns_authority(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """An authority that asks DigitalOcean's name server."""
    directory = tmp_path_factory.mktemp("dns-pebble")
    with pebble(directory, "127.0.0.1", name_server=f"{sandbox.gateway}:{PORT}") as authority:
        yield authority


def by_dns(authority: Pebble) -> dict[str, Any]:
    changed = traffic(authority, certificates=[{"acme": [f"*.{DOMAIN}", DOMAIN]}])
    changed["tls"]["acme"]["challenge"] = "dns-01"
    return {**changed, "public_url": f"https://shop.{DOMAIN}"}


def test_a_wildcard_certificate_is_obtained_by_dns_and_no_record_stays(
    stack: Stack, dns_authority: Pebble
) -> None:
    client = stack.environment.digitalocean()
    client.domains.create(body={"name": DOMAIN})
    with settings(stack, {"traffic": by_dns(dns_authority)}):
        ended = stack.run("certificates").expect("done")
        assert f"obtained *.{DOMAIN} until " in ended.report["message"], ended.report["message"]
        context = ssl.create_default_context(cadata=dns_authority.root())
        for proxy in stack.proxies():
            for name in (f"any.{DOMAIN}", DOMAIN):
                with (
                    socket.create_connection((str(proxy.address), 443), 10) as plain,
                    context.wrap_socket(plain, server_hostname=name),
                ):
                    pass
        stack.run("certificates").expect("nothing to do")
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    kinds = [one["type"] for one in client.domains.list_records(DOMAIN)["domain_records"]]
    assert kinds == ["NS"]
