"""A job is followed whatever becomes of the connection, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import create_autospec

import pytest

from bluegreen.hooks import remote_job
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.release.jobs import JobState

END = {"state": "success", "result": "success", "exit_status": 0, "run_id": "r", "seconds": 1.0}
LOST = DropletUnreachableError("the SSH connection to green-1 was lost")


def followed(*connections: list[Any]) -> tuple[RemoteJob, list[int]]:
    """A job that is followed over these connections, and the cursors that each began at."""
    agent, cursors = create_autospec(DropletAgentHook, instance=True), []
    left = list(connections)

    def follow(_verb: object, cursor: int, **_request: Any) -> Iterator[Any]:
        cursors.append(cursor)
        for item in left.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item

    agent.follow.side_effect = follow
    return RemoteJob(agent, "shop", "bluegreen-app-shop-1", token=7), cursors


def said(cursor: int, *lines: str) -> dict[str, Any]:
    return {"lines": list(lines), "cursor": cursor}


def test_a_lost_connection_is_opened_again_where_it_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_job, "RECONNECT_INTERVAL", 0.0)
    job, cursors = followed([said(4, "one"), LOST], [LOST], [said(8, "two"), {**END, "cursor": 8}])
    written: list[str] = []
    assert job.follow(written.extend).state is JobState.SUCCESS
    assert (written, cursors) == (["one", "two"], [0, 4, 4])


def test_a_droplet_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_job, "RECONNECT_INTERVAL", 0.0)
    monkeypatch.setattr(remote_job, "RECONNECT_SECONDS", 0.0)
    job, _ = followed(*[[LOST]] * 1000)
    with pytest.raises(DropletUnreachableError):
        job.follow(list)


def test_a_job_that_outlives_its_connection_is_followed_over_the_next_one() -> None:
    goes_on = {**END, "state": "running", "exit_status": None, "cursor": 4}
    job, cursors = followed([said(4, "one"), goes_on], [{**END, "cursor": 4}])
    assert job.follow(list).state is JobState.SUCCESS
    assert cursors == [0, 4]


def test_what_is_done_meanwhile_is_done_while_a_job_says_nothing() -> None:
    job, _ = followed([said(0), said(0), {**END, "cursor": 0}])
    calls: list[int] = []
    job.follow(list, lambda: calls.append(1))
    assert len(calls) == 3


def test_what_is_done_meanwhile_may_end_the_wait() -> None:
    job, _ = followed([said(0), said(0), {**END, "cursor": 0}])

    def lock_is_lost() -> None:
        raise KeyError("lock")

    with pytest.raises(KeyError):
        job.follow(list, lock_is_lost)
