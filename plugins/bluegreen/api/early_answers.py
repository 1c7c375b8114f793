"""Answers to an approval that come within seconds of the question, which Airflow 3.3 loses.

Airflow fails a task that is answered before the scheduler has noticed the end of the process that asked, and
asks again (``process_executor_events`` in scheduler_job_runner.py, 3.3.2): of answers at once every other one
was lost. The API server therefore takes such an answer some seconds later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger(__name__)

# How the address of an answer ends, and its most characters: Airflow's ids have at most 250 each.
ENDING, LONGEST_ADDRESS = "/hitlDetails", 1200
# Of an answer that is kept, the database is asked once in so many seconds.
POLL_SECONDS = 1.0
# What the scheduler takes to notice the end of a process, after the supervisor has.
NOTICED_SECONDS = 3
# An answer is not kept for longer than this.
LONGEST_SECONDS = 20
# Answers that one process of the API server keeps at a time: each of them takes a thread now and then.
MOST_KEPT = 4


class Asked(NamedTuple):
    """The task whose question an answer is for."""

    dag_id: str
    run_id: str
    task_id: str

    @classmethod
    def by(cls, scope: Scope) -> Asked | None:
        """Return it if a request is an answer to a task of the project.

        The API server calls this for every request, also of whom it does not know, before any other work. So
        the cost has a bound whatever the address is. A slash in an id is one that Airflow does not serve.
        """
        if scope["type"] != "http" or scope["method"] != "PATCH":
            return None
        path: str = scope["path"]
        if len(path) > LONGEST_ADDRESS or not path.endswith(ENDING):
            return None
        # Whatever serves the API has its own beginning of the address.
        match path.rsplit("/", 8):
            case [_, "dags", dag_id, "dagRuns", run_id, "taskInstances", task_id, _, _]:
                return cls(dag_id, run_id, task_id) if dag_id.startswith("bluegreen_") else None
        return None


@dataclass(frozen=True)
class Question:
    """A question that nobody has answered.

    :param waits_since: when its task began to wait; ``None`` if it does not wait yet.
    """

    waits_since: datetime | None

    def early_for(self, now: datetime, seconds: float) -> float:
        """Return for how many seconds an answer is still too early, or when to look again.

        :param seconds: how long a task has to wait before it may be answered.
        """
        if self.waits_since is None:
            return POLL_SECONDS
        return seconds - (now - self.waits_since).total_seconds()


class EarlyAnswers:
    """Middleware of Airflow's API server; see the module.

    :param app: what answers the request.
    :param look: returns the unanswered question of a task, if there is one.
    :param is_accepted: returns whether a request has credentials that Airflow accepts.
    """

    def __init__(
        self,
        app: ASGIApp,
        look: Callable[[Asked], Question | None] | None = None,
        is_accepted: Callable[[Scope], Awaitable[bool]] | None = None,
    ) -> None:
        self._app = app
        self._look = look or unanswered
        self._is_accepted = is_accepted or has_credentials
        self._kept = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, an early answer in time."""
        if asked := Asked.by(scope):
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    if await self._is_accepted(scope):
                        await self._keep(asked)
            # Whatever fails here: an approval that Airflow may lose is better than one that nobody can give.
            except Exception as error:
                log.warning("%s is passed on now, and Airflow may ask again: %r", _named(asked), error)
        await self._app(scope, receive, send)

    async def _keep(self, asked: Asked) -> None:
        """Wait until an answer counts, unless as many answers wait as may."""
        if self._kept >= MOST_KEPT:
            log.warning("%s is passed on now: %d others wait already", _named(asked), self._kept)
            return
        self._kept += 1
        try:
            await self._in_time(asked)
        finally:
            self._kept -= 1

    async def _in_time(self, asked: Asked) -> None:
        from airflow.configuration import conf
        from airflow.sdk.timezone import utcnow

        # A supervisor may outlive its task by this interval.
        seconds = conf.getint("workers", "min_heartbeat_interval") + NOTICED_SECONDS
        while question := await asyncio.to_thread(self._look, asked):
            left = question.early_for(utcnow(), seconds)
            if left <= 0:
                return
            await asyncio.sleep(min(left, POLL_SECONDS))


def _named(asked: Asked) -> str:
    # The address is whatever a user has sent: with quotes, no line of the log is a forged one.
    return f"the answer to {asked.task_id!r} of {asked.dag_id!r}, run {asked.run_id!r},"


async def has_credentials(scope: Scope) -> bool:
    """Return whether a request has credentials that Airflow accepts, by what Airflow's own routes depend on.

    The signature is checked first, so a made-up token costs no query. ``JWTRefreshMiddleware`` has looked at
    a cookie before this middleware is called, and leaves the user in the request's state (Airflow 3.3.2).
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException, Request

    request = Request(scope)
    try:
        await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return False
    return True


def unanswered(asked: Asked) -> Question | None:
    """Return a task's question from Airflow's database, if it has asked one that nobody has answered."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    query = (
        select(TaskInstance.state, TaskInstance.updated_at)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(
            TaskInstance.dag_id == asked.dag_id,
            TaskInstance.run_id == asked.run_id,
            TaskInstance.task_id == asked.task_id,
            TaskInstance.state.in_((TaskInstanceState.RUNNING, TaskInstanceState.AWAITING_INPUT)),
            HITLDetail.responded_at.is_(None),
        )
    )
    with create_session(scoped=False) as session:
        found = session.execute(query).first()
    if found is None:
        return None
    return Question(found.updated_at if found.state == TaskInstanceState.AWAITING_INPUT else None)
