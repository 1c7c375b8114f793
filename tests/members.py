"""Clients of ``examples/plack_sessions`` who have logged in, and what becomes of their sessions."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

# Seconds for one request.
PATIENCE = 30.0
# Statuses of the app: somebody is logged in, or has to log in first.
LOGGED_IN, LOGGED_OUT = 200, 401


@dataclass
class Member:
    """One client, which logs in again as soon as it is logged out.

    :param pause: seconds between two requests.
    :param asked: how many of its requests have ended.
    :param logged_out: after how many of them it was logged out.
    :param visits: how often its session was used, as it counts itself.
    :param wrong: answers that no session explains: failed requests, somebody else's session, a lost visit.
    """

    name: str
    pause: float
    asked: int = 0
    logged_out: int = 0
    visits: int = 0
    wrong: list[str] = field(default_factory=list)

    async def run(self, url: str, number: int, ended: asyncio.Event) -> None:
        """Ask until the end, with cookies and a connection of its own."""
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        # Cookies of an address, not of a name.
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(url, cookie_jar=jar, timeout=timeout) as session:
            await asyncio.sleep(self.pause * (number % 16) / 16)
            await self._log_in(session)
            while not ended.is_set():
                await self._look(session)
                await asyncio.sleep(self.pause)

    async def _log_in(self, session: aiohttp.ClientSession) -> None:
        status, _ = await self._ask(session, "POST", "/login", {"name": self.name})
        if status != LOGGED_IN:
            self.wrong.append(f"{self.name} cannot log in: {status}")
        self.visits = 0

    async def _look(self, session: aiohttp.ClientSession) -> None:
        status, seen = await self._ask(session, "GET", "/me")
        if status == LOGGED_OUT:
            self.logged_out += 1
            await self._log_in(session)
        elif status != LOGGED_IN:
            self.wrong.append(f"{self.name} got {status}")
        else:
            self.visits += 1
            if (seen["name"], seen["visits"]) != (self.name, self.visits):
                self.wrong.append(f"{self.name} got {seen} at visit {self.visits}")
                self.visits = int(seen["visits"])
        self.asked += 1

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, path: str, form: Any = None
    ) -> tuple[int | str, dict[str, Any]]:
        try:
            async with session.request(method, path, data=form) as answer:
                text = await answer.text()
                return answer.status, json.loads(text) if answer.status == LOGGED_IN else {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return f"{type(error).__name__}: {error}", {}


class Members:
    """Members who ask all the time."""

    def __init__(self, members: list[Member]) -> None:
        self._members = members

    @property
    def wrong(self) -> list[str]:
        """Answers that no session explains."""
        return [line for member in self._members for line in member.wrong]

    @property
    def asked(self) -> int:
        """How many requests have ended."""
        return sum(member.asked for member in self._members)

    def logged_out(self, seconds: float = 120) -> int:
        """Wait until everybody has asked twice more; return how many were logged out since the last call."""
        before = [member.asked for member in self._members]
        deadline = time.monotonic() + seconds
        # The request that is in progress now, and one that begins later.
        while any(member.asked < asked + 2 for member, asked in zip(self._members, before, strict=True)):
            assert time.monotonic() < deadline, f"not everybody has asked twice within {seconds:g} s"
            time.sleep(0.05)
        out = sum(bool(member.logged_out) for member in self._members)
        for member in self._members:
            member.logged_out = 0
        return out


@contextmanager
def members(url: str, number: int, pause: float = 0.5) -> Iterator[Members]:
    """Let some clients log in, and ask until the end.

    :param url: the proxy's, without a path.
    :param pause: seconds between two requests of one client; less than HAProxy keeps a silent one.
    """
    everybody = [Member(f"member{each}", pause) for each in range(number)]
    ended = asyncio.Event()

    async def ask() -> None:
        await asyncio.gather(*(one.run(url, each, ended) for each, one in enumerate(everybody)))

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(ask()), daemon=True)
    thread.start()
    try:
        found = Members(everybody)
        found.logged_out()
        yield found
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE + 30)
        loop.close()
