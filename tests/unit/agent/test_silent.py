"""What the agent says of a HAProxy that hangs: its sockets are open, and nobody answers there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from agent.call_lock import CallLock, in_peace
from agent.protocol import AgentError, Code
from bluegreen.color import Color
from bluegreen.errors import ProxyError
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.local_haproxy import Deployed


@contextmanager
def stopped(deployed: Deployed, who: str) -> Iterator[None]:
    """Stop HAProxy's worker, or its master too, as a machine does that has no memory left."""
    master = deployed.world.master()
    assert master is not None
    [worker] = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    hanging = [int(worker)] if who == "the worker" else [master, int(worker)]
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in hanging:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("who", ["the worker", "the worker and its master"])
def test_of_a_haproxy_that_hangs_the_status_says_what_it_knows_without_it(
    deployed: Deployed, who: str
) -> None:
    deployed.switch(Color.GREEN)
    with stopped(deployed, who):
        status = ProxyStatus.parse(deployed.status())
    assert (status.live, status.known_live) == (None, Color.GREEN)
    assert status.lock is not None
    assert status.lock.run_id == "run-1"
    assert status.pending is not None
    assert status.pending.from_color is Color.BLUE
    assert status.haproxy.running is (who == "the worker")


class Restless:
    """A lock that another call has just had, each time that one looks."""

    def __init__(self) -> None:
        self.looks = 0

    def wait_until_free(self) -> bytes:
        self.looks += 1
        return str(self.looks).encode()


def test_an_answer_is_given_even_if_there_is_no_time_to_check_it() -> None:
    answers: list[Any] = [{"live": "blue"}, AgentError(Code.TOO_SLOW, "status ran out of time")]

    def read() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert in_peace(cast(CallLock, Restless()), read) == {"live": "blue"}
    answers = [AgentError(Code.TOO_SLOW, "status ran out of time")]
    with pytest.raises(AgentError):
        in_peace(cast(CallLock, Restless()), read)
    answers = [{"live": "blue"}, AgentError(Code.BAD_STATE, "traffic.json is not JSON")]
    with pytest.raises(AgentError, match="not JSON"):
        in_peace(cast(CallLock, Restless()), read)


@pytest.mark.parametrize(("code", "transient"), [("busy", True), ("too_slow", True), ("unhealthy", False)])
def test_a_call_that_was_too_slow_may_succeed_later(code: str, transient: bool) -> None:
    assert ProxyError("lb-1: no", code=code).transient is transient
