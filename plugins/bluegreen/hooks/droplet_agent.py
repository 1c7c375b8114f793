"""The agent of a droplet that runs an app."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from typing import Any

from agent.protocol import JobProgress, Verb
from bluegreen.agent_bundle import memory_command, memory_input
from bluegreen.hooks.agent import AgentHook
from bluegreen.hooks.droplet import CommandResult


class DropletAgentHook(AgentHook):
    """One application droplet's agent."""

    @property
    def name(self) -> str:
        """The droplet's name in messages."""
        return self.droplet_hook.droplet.label

    def follow(self, verb: Verb, **request: Any) -> Generator[JobProgress | dict[str, Any]]:
        """Call a verb that only reads, and yield its progress as it comes; the last item is its answer.

        :raises AgentRefusedError: with the agent's own code and message when it refuses.
        """
        last = ""
        lines = self.droplet_hook.stream(memory_command(verb), memory_input(request))
        with closing(lines):
            for line in lines:
                progress = _progress_in(line)
                if progress is None:
                    last = line
                else:
                    yield progress
        yield self._answer(verb, CommandResult(0, last, ""))


def _progress_in(line: str) -> JobProgress | None:
    try:
        progress: JobProgress = json.loads(line)["progress"]
    except (ValueError, TypeError, KeyError):
        return None
    return progress
