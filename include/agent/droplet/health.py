"""Waiting until a release that was started is healthy. It is not trusted, so each answer has its end."""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass
from typing import Any

from agent.fields import number, text
from agent.http_client import Question, read_head
from agent.protocol import Json
from agent.system import since_boot

# Seconds for one answer, and between two questions.
LONGEST_ANSWER, PAUSE = 5.0, 0.1
LONGEST_REVISION = 40
LONGEST_WAIT = 3600.0


@dataclass(frozen=True)
class Service:
    """An app's service on this droplet, and what makes it healthy.

    :param revision: what every answer has to name.
    :param healthy_threshold: good answers in a row.
    :param timeout: seconds until then, at most.
    """

    address: str
    port: int
    question: Question
    revision: str
    healthy_threshold: int
    timeout: float

    @classmethod
    def of(cls, request: Json) -> Service:
        """Read it from a request.

        :raises AgentError: with the code ``bad_request``.
        """
        return cls(
            text(request, "address", r"[0-9a-fA-F.:]{2,45}"),
            int(number(request, "port", 1, 65535)),
            Question.of(request),
            text(request, "revision", r"[0-9a-f]{40}"),
            int(number(request, "healthy_threshold", 1, 1000)),
            number(request, "timeout", 0, LONGEST_WAIT),
        )

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://{self.address}:{self.port}{self.question.path}"


def problem_of(service: Service) -> str:
    """Wait until a service gives good answers; return what was wrong with the last one, empty if it does."""
    ends, in_a_row, problem = since_boot() + service.timeout, 0, "it was not asked"
    while since_boot() < ends:
        problem = _problem_of_one(service, ends)
        if problem:
            in_a_row = 0
            time.sleep(PAUSE)
            continue
        in_a_row += 1
        if in_a_row >= service.healthy_threshold:
            return ""
    return problem or f"it gave only {in_a_row} good answers in a row"


def _problem_of_one(service: Service, ends: float) -> str:
    until = since_boot() + max(0.1, min(LONGEST_ANSWER, ends - since_boot()))
    try:
        with socket.create_connection((service.address, service.port), until - since_boot()) as connection:
            connection.sendall(service.question.lines_for(f"{service.address}:{service.port}"))
            return _problem_with(service, *read_head(connection, until))
    except TimeoutError:
        return "it gave no whole head of an answer in time"
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"it cannot be reached: {error.strerror or error}"


def _problem_with(service: Service, status: int, headers: Any) -> str:
    question = service.question
    if status not in question.statuses if question.statuses else not 200 <= status < 300:
        settings = "; see traffic.public_url and validation.statuses" if status < 500 else ""
        scheme = "https" if question.https else "http"
        host = question.host or f"{service.address}:{service.port}"
        return f"it answers {status}, asked as {scheme}://{host}{question.path}{settings}"
    answered = headers.get("X-Revision")
    if answered is None:
        return "its answers have no X-Revision, so the server command does not run {psgi}"
    shown = re.sub("[^!-~]", "?", answered)[:LONGEST_REVISION]
    return "" if answered == service.revision else f"revision {shown} answers"
