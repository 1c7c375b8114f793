"""The TLS proxies that the documentation recommends, in front of the server that Airflow runs in."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvicorn

from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
SNIPPETS = ROOT / "hosting" / "tls-proxy"
NAME = "airflow.example.org"


@dataclass(frozen=True)
class Answer:
    """What a client gets; ``seen`` is what the server behind has seen of the request, if it has."""

    status: int
    headers: dict[str, str]
    seen: dict[str, Any] | None


@dataclass(frozen=True)
class TlsProxy:
    """A proxy that runs, at its port."""

    port: int
    trusted: trustme.CA

    def ask(self, path: str, *headers: str) -> Answer:
        """Send a path as it is: a client of Python's would make it a clean one."""
        context = ssl.create_default_context()
        self.trusted.configure_trust(context)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            lines = [f"GET {path} HTTP/1.1", f"Host: {NAME}", "Connection: close", *headers, "", ""]
            connection.sendall("\r\n".join(lines).encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        head, _, body = answer.decode().partition("\r\n\r\n")
        first, *rest = head.split("\r\n")
        named = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in rest}
        found = re.search(r"\{.*\}", body, re.S)
        return Answer(int(first.split()[1]), named, json.loads(found[0]) if found else None)


async def _airflow(scope: Any, receive: Any, send: Any) -> None:
    """Tell what Airflow would know: whether a cookie has to be Secure is the scheme."""
    assert scope["type"] == "http"
    said = {"scheme": scope["scheme"], "client": scope["client"][0], "path": scope["path"]}
    said["host"] = next(value.decode() for name, value in scope["headers"] if name == b"host")
    body = json.dumps(said).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    """Uvicorn, as `airflow api-server --proxy-headers` starts it."""
    port = free_port()
    settings = uvicorn.Config(
        _airflow, host="127.0.0.1", port=port, proxy_headers=True, log_level="error", lifespan="off"
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield port
    server.should_exit = True
    thread.join(10)


def nginx(directory: Path, port: int, upstream: int, certificate: Path) -> list[str]:
    """Write the snippet with this test's places, and return how it is started."""
    text = (SNIPPETS / "nginx.conf").read_text()
    text = text.replace("listen 443 ", f"listen 127.0.0.1:{port} ").replace(
        "listen 80;", f"listen 127.0.0.1:{free_port()};"
    )
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    text = re.sub(r"/etc/ssl/airflow/\w+\.pem", str(certificate), text)
    places = "".join(
        f"{name}_temp_path {directory};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = directory / "nginx.conf"
    file.write_text(
        f"pid {directory}/pid; daemon off; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {places}\n{text}\n}}\n"
    )
    return ["nginx", "-c", str(file), "-p", str(directory)]


def caddy(directory: Path, port: int, upstream: int, certificate: Path) -> list[str]:
    """Write the snippet with this test's places, and return how it is started."""
    text = (SNIPPETS / "Caddyfile").read_text()
    text = text.replace(
        f"{NAME} {{", f"https://{NAME}:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {certificate}"
    )
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{upstream}")
    file = directory / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, upstream: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsProxy]:
    make = request.param
    if not shutil.which(make.__name__):
        pytest.skip(f"{make.__name__} is not installed; make test-tls-proxy installs it")
    directory, port = tmp_path_factory.mktemp(make.__name__), free_port()
    authority = trustme.CA()
    certificate = directory / "all.pem"
    authority.issue_cert(NAME).private_key_and_cert_chain_pem.write_to_path(certificate)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(directory)}
    process = subprocess.Popen(make(directory, port, upstream, certificate), env=environment)
    one = TlsProxy(port, authority)
    try:
        until(lambda: _answers(one))
        yield one
    finally:
        process.terminate()
        process.wait(10)


def _answers(proxy: TlsProxy) -> bool:
    try:
        return proxy.ask("/").status == 200
    except OSError:
        return False


def test_airflow_knows_that_its_client_came_by_https_and_from_where(proxy: TlsProxy) -> None:
    answer = proxy.ask("/api/v2/version")
    assert answer.seen == {"scheme": "https", "client": "127.0.0.1", "path": "/api/v2/version", "host": NAME}
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "path",
    [
        "/execution",
        "/execution/",
        "/execution/task-instances/1/run",
        "//execution/health",
        "/./execution/health",
        "/x/../execution/health",
        "/%65xecution/health",
        "/execution%2Fhealth",
        "/x/%2e%2e/execution/health",
    ],
)
def test_what_tasks_report_to_cannot_be_reached_from_outside(proxy: TlsProxy, path: str) -> None:
    answer = proxy.ask(path)
    assert answer.seen is None, answer
    assert answer.status in (400, 404)


def test_a_client_cannot_pretend_to_be_another_one(proxy: TlsProxy) -> None:
    answer = proxy.ask(
        "/", "X-Forwarded-For: 203.0.113.9", "X-Forwarded-Proto: http", "X-Forwarded-Host: evil.example"
    )
    assert answer.seen == {"scheme": "https", "client": "127.0.0.1", "path": "/", "host": NAME}


def test_old_protocols_are_refused(proxy: TlsProxy) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    proxy.trusted.configure_trust(context)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname=NAME)
