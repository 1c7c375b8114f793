"""An application server of a test's own, behind the proxy."""

from __future__ import annotations

import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend:
    """One application server: answers with its revision, and ``/health`` as healthy as it is told to be."""

    def __init__(self, address: str, port: int, revision: str) -> None:
        self.healthy = True
        self.health_takes = 0.0
        self.revision = revision
        self.headers = Message()
        self.health_headers = Message()
        self.health_status = self.page_status = 200
        # To whom pages are shown; others are sent away, or find nothing.
        self.only_https, self.only_host = False, ""
        self.page_revision = revision
        # More headers of every answer.
        self.page_headers: dict[str, str] = {}
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/health":
                    backend.health_headers = self.headers
                    time.sleep(backend.health_takes)
                if self.path == "/headers":
                    backend.headers = self.headers
                if self.path.startswith("/slow?s="):
                    time.sleep(float(self.path.partition("=")[2]))
                status = backend.status_of(self)
                body, seconds = b"", 0.0
                if self.path.startswith("/download?s="):
                    body, seconds = b"begin end", float(self.path.partition("=")[2])
                self.send_response(status)
                is_health = self.path == "/health"
                self.send_header("X-Revision", backend.revision if is_health else backend.page_revision)
                for name, value in backend.page_headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if body:
                    self.wfile.write(body[:5])
                    time.sleep(seconds)
                    self.wfile.write(body[5:])

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, port), Handler)
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()

    def status_of(self, request: BaseHTTPRequestHandler) -> int:
        """Return what a request is answered with."""
        if request.path == "/health":
            return self.health_status if self.healthy else 500
        if self.only_host and request.headers["Host"] != self.only_host:
            return 404
        if self.only_https and request.headers["X-Forwarded-Proto"] != "https":
            return 301
        return self.page_status

    def close(self) -> None:
        """Stop answering; connections are refused from now on."""
        self.server.shutdown()
        self.server.server_close()
