"""The agent of one droplet, called over SSH."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook

from agent.protocol import ALARM_AFTER, Verb
from bluegreen.agent_bundle import agent_bundle, memory_command, memory_input
from bluegreen.errors import AgentRefusedError
from bluegreen.hooks.droplet import CommandResult, DropletHook

if TYPE_CHECKING:
    from typing import Self

    from bluegreen.fleet.droplets import Droplet
    from bluegreen.settings.app import App

# Seconds that an answer may take on its way, after the kernel has ended a call at the latest.
ANSWER_MARGIN = 10
# Python's exit status when it cannot open the file that it is to run; the agent's own are 0 and 1.
NOT_THERE = 2


class AgentHook(BaseHook):
    """One droplet's agent.

    Verbs that read are run from memory and write nothing there. Before a verb that changes something, this
    project's version is installed if it is not there: beside other versions, which runs and timers may need.

    :param droplet_hook: the SSH side of it.
    """

    refusal: ClassVar[type[AgentRefusedError]] = AgentRefusedError

    def __init__(self, droplet_hook: DropletHook) -> None:
        super().__init__()
        self.droplet_hook = droplet_hook
        self.bundle = agent_bundle()

    @classmethod
    def of(cls, droplet: Droplet, app: App) -> Self:
        """Make the hook with an app's connection and timeouts."""
        return cls(DropletHook.of(droplet, app))

    def close(self) -> None:
        """Close the connection if it is open."""
        self.droplet_hook.close()

    @property
    def name(self) -> str:
        """Name of the droplet."""
        return self.droplet_hook.droplet.name

    @property
    def path(self) -> str:
        """Where this project's version is installed there."""
        return self.bundle.path

    def read(self, verb: Verb, within: float | None = None, **request: Any) -> dict[str, Any]:
        """Call a verb that only reads; the agent is sent along instead of being installed.

        :param within: seconds for the answer, if the request says how long the verb may take; default: the
            verb's own deadline.
        :param request: sent on standard input because it may hold secrets.
        :raises AgentRefusedError: with the agent's own code and message when it refuses.
        """
        return self._answer(verb, self._run_from_memory(verb, request, within))

    def call(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call a verb that changes something; the machine's journal has a line on the run that does.

        :param request: sent on standard input because it may hold secrets.
        :raises AgentRefusedError: with the agent's own code and message when it refuses.
        """
        request = {**_caller(), **request}
        result = self._run_installed(verb, request)
        if result.status == NOT_THERE and not result.stdout:
            self._install()
            result = self._run_installed(verb, request)
        return self._answer(verb, result)

    def install_agent(self) -> None:
        """Put this project's version there, unless it is, byte for byte.

        :raises AgentRefusedError: if it cannot be installed; other versions stay as they are.
        """
        found = self.droplet_hook.run(["sha256sum", self.path]).stdout
        if found.split(" ")[0] != self.bundle.sha256:
            self._install()

    def _install(self) -> None:
        self._answer(Verb.INSTALL_AGENT, self._run_from_memory(Verb.INSTALL_AGENT, {}))

    def _run_installed(self, verb: Verb, request: dict[str, Any]) -> CommandResult:
        command = ["python3", self.path, verb.value, "-"]
        return self.droplet_hook.run(command, json.dumps(request), silence=_seconds(verb))

    def _run_from_memory(
        self, verb: Verb, request: dict[str, Any], within: float | None = None
    ) -> CommandResult:
        seconds = _seconds(verb, within)
        return self.droplet_hook.run(memory_command(verb), memory_input(request), silence=seconds)

    def _answer(self, verb: Verb, result: CommandResult) -> dict[str, Any]:
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            reason = (result.stderr.strip() or result.stdout.strip() or "no output")[-300:]
            raise self.refusal(f"{self.name}: the agent's {verb.value!r} broke: {reason}") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            code = answer.get("error", "") if isinstance(answer, dict) else ""
            message = answer.get("message", result.stdout) if isinstance(answer, dict) else result.stdout
            raise self.refusal(f"{self.name}: {message}", code=code)
        return answer


def _caller() -> dict[str, str]:
    """Return the run and the task that call, from what Airflow sets in each task's environment."""
    dag_id, run_id, task = (
        os.environ.get(f"AIRFLOW_CTX_{name}") for name in ("DAG_ID", "DAG_RUN_ID", "TASK_ID")
    )
    return {"by": f"{dag_id}/{run_id} {task}"} if dag_id and run_id and task else {}


def _seconds(verb: Verb, within: float | None = None) -> float:
    """Longer than the agent takes in any case."""
    return (verb.deadline if within is None else within) + ALARM_AFTER + ANSWER_MARGIN
