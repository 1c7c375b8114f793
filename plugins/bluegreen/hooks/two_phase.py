"""One change on several proxies at once, undone on all of them if one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, TypeVar

from agent.protocol import Code, Verb
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.proxy import ProxyHook

T = TypeVar("T")

# Seconds in which all proxies must have moved after the first one has.
TOGETHER_SECONDS = 1.0


def on_all(members: Sequence[ProxyHook], ask: Callable[[ProxyHook], T]) -> dict[str, T]:
    """Call a function for all proxies at once, and wait for all of them.

    :return: the answers by droplet name.
    :raises BlueGreenError: the error of the only proxy that failed, or all errors combined.
    """
    if not members:
        return {}
    with ThreadPoolExecutor(len(members)) as pool:
        futures = {member.name: pool.submit(ask, member) for member in members}
    if errors := errors_of(futures.values()):
        raise combined(errors)
    return {name: future.result() for name, future in futures.items()}


def errors_of(futures: Any) -> list[BlueGreenError]:
    """Return the errors of the calls that have ended.

    :raises Exception: an error that no user can cause.
    """
    found = []
    for future in futures:
        error = future.exception() if future.done() else None
        if error is not None and not isinstance(error, BlueGreenError):
            raise error
        if error is not None:
            found.append(error)
    return found


def combined(errors: Sequence[BlueGreenError]) -> BlueGreenError:
    """Combine several errors into one; it is transient if all of them are."""
    if len(errors) == 1:
        return errors[0]
    one = ProxyError("; ".join(map(str, errors)), code=getattr(errors[0], "code", ""))
    one.transient = all(error.transient for error in errors)
    return one


class TwoPhase:
    """The second phase of a switch: all proxies move within a second of each other, or all revert.

    :param members: the proxies; each has prepared the switch.
    :param tokens: lock tokens by droplet name.
    :param request: the request of the verb ``switch``.
    """

    def __init__(self, members: Sequence[ProxyHook], tokens: dict[str, int], request: dict[str, Any]) -> None:
        self.members = members
        self.tokens = tokens
        self.request = request
        self._guard = Lock()
        self._given_up = False
        self._moved: list[ProxyHook] = []

    def run(self) -> dict[str, dict[str, Any]]:
        """Return the answers by droplet name.

        :raises ProxyError: naming the proxies that failed and what is live on each; the proxies that can be
            reached have reverted, the timers of the others revert them.
        """
        with ThreadPoolExecutor(len(self.members)) as pool:
            futures = {member.name: pool.submit(self._move, member) for member in self.members}
            wait(futures.values(), return_when=FIRST_COMPLETED)
            wait(futures.values(), timeout=TOGETHER_SECONDS, return_when=FIRST_EXCEPTION)
            with self._guard:
                late = [name for name, future in futures.items() if not future.done()]
                moved_all = len(self._moved) == len(self.members)
                self._given_up = not moved_all
            if moved_all:
                return {name: future.result() for name, future in futures.items()}
            # Revert before waiting for late proxies: two colors are answering clients.
            back = self._go_back()
        raise self._failure(futures, late, back)

    def _move(self, member: ProxyHook) -> dict[str, Any]:
        answer = member.call(Verb.SWITCH, token=self.tokens[member.name], **self.request)
        with self._guard:
            if not self._given_up:
                self._moved.append(member)
                return answer
        self._revert(member)
        raise ProxyError(f"{member.name}: moved too late, and reverted", code="late")

    def _revert(self, member: ProxyHook) -> None:
        member.call(Verb.REVERT, token=self.tokens[member.name])

    def _go_back(self) -> list[BlueGreenError]:
        try:
            on_all(self._moved, self._revert)
        except BlueGreenError as error:
            return [error]
        return []

    def _failure(
        self, futures: dict[str, Future[dict[str, Any]]], late: list[str], back: list[BlueGreenError]
    ) -> ProxyError:
        errors = [*errors_of(futures.values()), *back]
        live = on_all(self.members, _live)
        reasons = "; ".join(map(str, errors)) or f"{', '.join(late)} did not follow in time"
        where = ", ".join(f"{name}: {color}" for name, color in sorted(live.items()))
        code = next((code for error in errors if (code := getattr(error, "code", ""))), Code.NOT_MOVED)
        return ProxyError(
            f"the switch failed on a proxy, so all of them revert: {reasons}; live now: {where}", code=code
        )


def _live(member: ProxyHook) -> str:
    try:
        return str(member.status().live or "none")
    except BlueGreenError:
        return "unknown, its own timer reverts the switch"
