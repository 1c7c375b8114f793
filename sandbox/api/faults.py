"""Making the API, or another of the sandbox's servers, misbehave on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from sandbox.errors import SandboxError

KINDS = ("status", "html", "empty", "slow", "hang", "reset", "cut", "garbage", "altered", "away")
MESSAGES = {
    401: ("unauthorized", "Unable to authenticate you."),
    403: ("forbidden", "You are not authorized to perform this operation"),
    404: ("not_found", "The resource you requested could not be found."),
    422: ("unprocessable_entity", "The request could not be processed."),
    429: ("too_many_requests", "API rate limit exceeded."),
    500: ("server_error", "Unexpected server-side error"),
    503: ("service_unavailable", "Service Unavailable"),
}
GARBAGE = bytes(range(256)) * 16
HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FileAnswer(web.FileResponse):
    """An answer with a file's content."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path


@dataclass
class Fault:
    """One way to misbehave.

    :param kind: ``status`` (answer ``status`` with its usual body), ``html`` (with a page instead),
        ``empty`` (with nothing), ``slow`` (answer properly, ``seconds`` late), ``hang`` (never answer),
        ``reset`` (close the connection), ``cut`` (carry the request out, send half of the answer and close
        the connection), ``garbage`` (answer ``status`` with bytes that mean nothing), ``altered`` (answer
        with one byte changed), ``away`` (accept no connection; see :class:`~sandbox.services.Service`).
    :param status: HTTP status.
    :param method: HTTP method, or ``*``.
    :param path: pattern of the path, as in a shell: ``/v2/droplets*``.
    :param count: how many requests it concerns; all if ``None``.
    :param retry_after: seconds that a ``Retry-After`` header names.
    :param seconds: how late a slow answer is.
    :param after: carry the request out first, then misbehave: the answer is lost, its effect is not.
    """

    kind: str = "status"
    status: int = 500
    method: str = "*"
    path: str = "*"
    count: int | None = None
    retry_after: int | None = None
    seconds: float = 5.0
    after: bool = False

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read a fault.

        :raises SandboxError: an unknown field or kind.
        """
        unknown = set(value) - {field.name for field in fields(cls)}
        if unknown:
            raise SandboxError(f"a fault has no {', '.join(sorted(unknown))}")
        fault = cls(**value)
        if fault.kind not in KINDS:
            raise SandboxError(f"no fault {fault.kind!r}: there are {', '.join(KINDS)}")
        return fault

    def concerns(self, method: str, path: str) -> bool:
        """Return whether a request is to fail."""
        return self.method in ("*", method) and fnmatchcase(path, self.path) and self.count != 0


class Faults:
    """The faults in force; the first that concerns a request disturbs it."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self._cleared = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Enable a fault."""
        self.active.append(fault)

    def clear(self) -> None:
        """End all faults; requests that hang are let go."""
        self.active.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or misbehave."""
        fault = self.take(request.method, request.path)
        if fault is None:
            return await handler(request)
        if fault.kind == "cut":
            return await self._cut(request, await handler(request))
        if fault.kind == "altered":
            return _altered(await handler(request))
        if fault.after:
            await handler(request)
        elif fault.kind == "slow":
            await self.wait(fault.seconds)
            return await handler(request)
        return await self._misbehave(request, fault)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, if any, and count the request."""
        fault = next((fault for fault in self.active if fault.concerns(method, path)), None)
        if fault is not None and fault.count is not None:
            fault.count -= 1
        return fault

    async def wait(self, seconds: float | None) -> None:
        """Wait until the faults are cleared.

        :param seconds: but no longer than this.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._cleared.wait(), seconds)

    async def _misbehave(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault.kind in ("hang", "slow"):
            await self.wait(None if fault.kind == "hang" else fault.seconds)
        if fault.kind in ("hang", "slow", "reset", "away"):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if fault.kind == "garbage":
            return web.Response(body=GARBAGE, status=fault.status, content_type=request.content_type)
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        if fault.kind == "html":
            return web.Response(text=HTML, status=fault.status, content_type="text/html", headers=headers)
        if fault.kind == "empty":
            return web.Response(status=fault.status, headers=headers, content_type="application/json")
        identifier, message = MESSAGES.get(fault.status, ("error", "An error made on purpose"))
        return web.Response(
            text=json.dumps({"id": identifier, "message": message}),
            status=fault.status,
            headers=headers,
            content_type="application/json",
        )

    @staticmethod
    async def _cut(request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        """Send the first half of an answer and close the connection."""
        whole = _content(answer)
        if request.transport is None:
            raise SandboxError("only an answer to a client that is connected can be cut")
        half = web.StreamResponse(status=answer.status, headers=answer.headers)
        half.content_length = len(whole)
        await half.prepare(request)
        await half.write(whole[: len(whole) // 2])
        request.transport.close()
        return half


def _altered(answer: web.StreamResponse) -> web.Response:
    """Return an answer of the same length with another byte in its middle."""
    content = bytearray(_content(answer))
    if content:
        content[len(content) // 2] ^= 0xFF
    return web.Response(status=answer.status, headers=answer.headers, body=bytes(content))


def _content(answer: web.StreamResponse) -> bytes:
    if isinstance(answer, FileAnswer):
        return answer.path.read_bytes()
    content = answer.body if isinstance(answer, web.Response) else None
    if not isinstance(content, bytes):
        raise SandboxError("only an answer that is known as a whole can be cut or altered")
    return content
