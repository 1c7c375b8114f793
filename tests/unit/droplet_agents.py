"""Agents of application droplets, as hooks that answer as a test says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import create_autospec

import pytest

from agent.droplet.activated import Pairing
from agent.protocol import Code, Verb
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet_agent import DropletAgentHook
from tests.started import PAIRING


@dataclass(frozen=True)
class Refusal:
    """What an agent says that refuses a request."""

    message: str
    code: Code = Code.FAILED


Answer = BlueGreenError | Refusal | list[dict[str, Any]]


def ended(
    state: str, result: str = "success", exit_status: int = 0, **answers: dict[str, Any]
) -> list[dict[str, Any]]:
    """What is said of a job that is followed: a sign of life, and how it stands then.

    :param answers: of the job's steps, by verb.
    """
    end = {"state": state, "result": result, "exit_status": exit_status, "run_id": "run", "seconds": 1.5}
    end["answers"] = answers
    return [{"lines": [], "cursor": 0}, {**end, "cursor": 1}]


class DropletAgents:
    """Agents that do what they are asked unless a test says otherwise, and remember who was asked what."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[tuple[str, Verb]] = []
        self.requests: list[dict[str, Any]] = []
        self.answers: dict[tuple[str, Verb], Answer] = {}
        self.hooks: list[Any] = []
        self.programs: dict[str, Any] = {}
        monkeypatch.setattr(DropletAgentHook, "of", lambda droplet, _app: self._hook(droplet))

    @property
    def tokens(self) -> set[int]:
        """The tokens that they were given."""
        return {request["token"] for request in self.requests if "token" in request}

    def started(self, droplet: Droplet) -> dict[str, dict[str, Any]]:
        """What the job answers that a droplet was last asked for, if it starts a release."""
        steps = self.programs.get(droplet.name, {"steps": []})["steps"]
        found: dict[str, dict[str, Any]] = {}
        for verb, request in ((one["verb"], one["request"]) for one in steps):
            if verb == "activate":
                one = Pairing(request["release"], request["configuration"], request["unit_text"])
                found[verb] = one.as_json
            elif verb == "restore":
                found[verb] = {key: request[key] for key in ("release", "configuration", "pairing")}
        return found

    def _hook(self, droplet: Droplet) -> Any:
        def call(verb: Verb, **request: Any) -> dict[str, Any]:
            self._answer(droplet, verb, request)
            # What the droplets of `tests.started` were started with.
            return {"started": PAIRING} if verb is Verb.CLAIM else {}

        def follow(verb: Verb, **request: Any) -> Iterator[dict[str, Any]]:
            found = self._answer(droplet, verb, request)
            yield from found or ended("success", "success", 0, **self.started(droplet))

        hook = create_autospec(DropletAgentHook, instance=True)
        hook.call.side_effect, hook.follow.side_effect = call, follow
        self.hooks.append(hook)
        return hook

    def _answer(self, droplet: Droplet, verb: Verb, request: dict[str, Any]) -> list[dict[str, Any]]:
        self.sent.append((droplet.name, verb))
        self.requests.append(request)
        if "program" in request:
            self.programs[droplet.name] = request["program"]
        answer = self.answers.get((droplet.name, verb), [])
        if isinstance(answer, BlueGreenError):
            raise answer
        if isinstance(answer, Refusal):
            raise AgentRefusedError(f"{droplet.label}: {answer.message}", answer.code)
        return answer
