"""The timer that takes an unconfirmed switch back, even if Airflow is dead by then."""

from __future__ import annotations

import contextlib
import json
import sys

from agent.installation import Installation
from agent.protocol import ALARM_AFTER, AgentError, Code, Verb
from agent.system import CallDeadline


class RevertTimer:
    """A systemd timer that runs ``revert`` unless it is disarmed; nothing of this project has to stay alive.

    systemd's timers are accurate to a minute by default (``AccuracySec``, systemd.timer(5)).
    """

    UNIT = "bluegreen-revert"

    def __init__(self, installation: Installation, deadline: CallDeadline) -> None:
        self.installation, self.deadline = installation, deadline

    def arm(self, seconds: float, deadline: float) -> None:
        """Let this version of the agent take a switch back, whatever is installed by then.

        An earlier timer may still be armed: only the timer whose deadline is pending acts.

        :param seconds: from now on.
        :param deadline: names the switch.
        :raises AgentError: with the code ``cannot_arm``.
        """
        agent = self.installation.path
        if not agent.is_file():
            raise AgentError(Code.CANNOT_ARM, f"{agent} is missing, no revert could run; nothing moved")
        status, output = self.deadline.run(
            "systemd-run",
            f"--unit={self.UNIT}-{deadline * 1000:.0f}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--collect",
            "--property=Restart=on-failure",
            "--property=RestartSec=5",
            # A call that hangs is ended, and so tries again.
            f"--property=RuntimeMaxSec={Verb.REVERT.deadline + 2 * ALARM_AFTER:.0f}",
            "--property=TimeoutStopSec=5",
            sys.executable,
            str(agent),
            Verb.REVERT.value,
            json.dumps({"deadline": deadline}),
        )
        if status != 0:
            raise AgentError(Code.CANNOT_ARM, f"no revert timer, so nothing moved: {output[-200:]}")

    def disarm(self) -> None:
        """Stop every timer. A timer that is left, because this takes too long, finds nothing pending."""
        with contextlib.suppress(AgentError):
            self.deadline.run("systemctl", "stop", f"{self.UNIT}-*.timer", f"{self.UNIT}-*.service")
