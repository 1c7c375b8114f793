"""The unit that takes an unconfirmed switch back before HAProxy starts, after a restart of the machine."""

from __future__ import annotations

import pkgutil

from agent.installation import Installation
from agent.paths import Paths
from agent.protocol import AgentError, Code
from agent.system import CallDeadline, alert, write_atomically

NAME = "bluegreen-boot.service"
# The link by which it is enabled, in systemd's directory.
ENABLED = f"multi-user.target.wants/{NAME}"
# In the file: where the path of the agent goes.
_AGENT = b"@agent@"


def unit_text(agent: str) -> bytes:
    """Return the unit that runs one version of the agent.

    :param agent: path of its zip on the machine.
    """
    text = pkgutil.get_data("agent.proxy", NAME)
    assert text is not None  # noqa: S101
    return text.replace(_AGENT, agent.encode())


class BootUnit:
    """The unit on this machine; it names the version of the agent that knows the pending switch."""

    def __init__(self, paths: Paths, installation: Installation, deadline: CallDeadline) -> None:
        self.paths, self.installation, self.deadline = paths, installation, deadline

    def enable(self) -> None:
        """Let this version run at the next boot; costs nothing if it does already.

        A call that is killed here leaves a unit that the next call enables.

        :raises AgentError: with the code ``not_installed``.
        """
        wanted, enabled = unit_text(str(self.installation.path)), self.paths.units / ENABLED
        if enabled.exists() and enabled.read_bytes() == wanted:
            return
        try:
            write_atomically(self.paths.units / NAME, wanted, 0o644)
        except OSError as error:
            message = f"{NAME} cannot be written: {error.strerror}"
            raise AgentError(Code.NOT_INSTALLED, message) from None
        status, output = self.deadline.run("systemctl", "--quiet", "enable", NAME)
        if status != 0:
            raise AgentError(Code.NOT_INSTALLED, f"{NAME} cannot be enabled: {alert(output)}")
