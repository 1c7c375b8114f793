"""Doing one thing on several proxies at once, and undoing it where it must not stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Any, TypeVar

from agent.protocol import Code, Verb
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.proxy import ProxyHook

T = TypeVar("T")

# Once one has moved, the others have this long to follow.
TOGETHER_SECONDS = 1.0


def on_all(members: Sequence[ProxyHook], ask: Callable[[ProxyHook], T]) -> dict[str, T]:
    """Do something on all at once and wait for all of them.

    :return: the answers by name.
    :raises BlueGreenError: the error of the only one that failed, or all errors as one.
    """
    if not members:
        return {}
    with ThreadPoolExecutor(len(members)) as pool:
        futures = {member.name: pool.submit(ask, member) for member in members}
    if errors := errors_of(futures.values()):
        raise combined(errors)
    return {name: future.result() for name, future in futures.items()}


def errors_of(futures: Any) -> list[BlueGreenError]:
    """Collect what those that have ended could not do.

    :raises Exception: what is not an error that a user can cause.
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
    """Make one error of several."""
    if len(errors) == 1:
        return errors[0]
    one = ProxyError("; ".join(map(str, errors)), code=getattr(errors[0], "code", ""))
    one.transient = all(error.transient for error in errors)
    return one


class TwoPhase:
    """The second half of a switch: all move within a second of each other, or all go back.

    :param members: the proxies, prepared.
    :param tokens: lock tokens by name.
    :param request: what ``switch`` is asked.
    """

    def __init__(self, members: Sequence[ProxyHook], tokens: dict[str, int], request: dict[str, Any]) -> None:
        self.members = members
        self.tokens = tokens
        self.request = request
        self._guard = Lock()
        self._given_up = False
        self._moved: list[ProxyHook] = []

    def run(self) -> dict[str, dict[str, Any]]:
        """Return the answers by name.

        :raises ProxyError: naming who failed and what is live on each; all that can be reached have
            gone back, the timers of the others take them back.
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
            # Before waiting for the late: clients are being answered by two colors.
            back = self._go_back()
        raise self._failure(futures, late, back)

    def _move(self, member: ProxyHook) -> dict[str, Any]:
        answer = member.call(Verb.SWITCH, token=self.tokens[member.name], **self.request)
        with self._guard:
            if not self._given_up:
                self._moved.append(member)
                return answer
        self._revert(member)
        raise ProxyError(f"{member.name}: moved too late, and went back", code="late")

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
            f"the switch failed on a proxy, so all go back: {reasons}; live now on {where}", code=code
        )


def _live(member: ProxyHook) -> str:
    try:
        return str(member.status().live or "none")
    except BlueGreenError:
        return "unknown, its own timer takes the switch back"
