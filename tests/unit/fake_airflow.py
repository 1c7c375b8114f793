"""An Airflow API server that gives the answers it was told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class FakeApi:
    """Answers by method and path, and what was asked.

    An answer is a body, or a status and a body; ``None`` hangs up. A list is used up from its front, its last
    element stays. Strings are sent as they are, anything else as JSON.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"POST /auth/token": (201, {"access_token": "secret"})}
        self.seen: list[tuple[str, str | None, Any]] = []

    def answer(self, request: str) -> Any:
        """Return a status and a body, or ``None``."""
        found = self.answers.get(request, (404, {"detail": "not found"}))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        return found if found is None or isinstance(found, tuple) else (200, found)

    def asked(self, method: str) -> list[tuple[str, Any]]:
        """Return path and body of each request with a method, tokens aside."""
        return [
            (request.partition(" ")[2], body)
            for request, _, body in self.seen
            if request.startswith(f"{method} ") and not request.endswith("/auth/token")
        ]


@contextmanager
def serving(api: FakeApi, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve on this machine; yield ``host:port``.

    :param context: makes it HTTPS.
    """
    with HTTPServer(("127.0.0.1", 0), _handler(api)) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = f"{self.command} {self.path.partition('?')[0]}"
            api.seen.append((request, self.headers["Authorization"], json.loads(body or b"null")))
            answer = api.answer(request)
            if answer is None:
                return
            self.send_response(answer[0])
            if answer[0] // 100 == 3:
                self.send_header("Location", answer[1])
            self.end_headers()
            self.wfile.write((answer[1] if isinstance(answer[1], str) else json.dumps(answer[1])).encode())

        do_GET = do_POST = do_PATCH = do_CONNECT = _respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
