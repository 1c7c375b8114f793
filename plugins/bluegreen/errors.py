"""Errors that a user can cause or meet; each message describes what happened and what to do next."""

from __future__ import annotations

from agent.protocol import Code


class BlueGreenError(Exception):
    """Base class: its text is shown to the user as it is, in one line.

    ``transient`` is whether the same attempt may succeed a little later.
    """

    transient = False


class NothingToDoError(BlueGreenError):
    """The run's goal is reached already: the rest of the run is skipped, and it succeeds.

    :param message: what was found, in one line.
    :param outcome: the run's outcome, for its report.
    """

    def __init__(self, message: str, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class SettingsError(BlueGreenError):
    """An app's YAML file is not usable; the text names file, key, value and what is allowed."""


class RefError(BlueGreenError):
    """A git ref is malformed, or does not exist in the repository."""


class PolicyError(BlueGreenError):
    """The app's file does not allow what was asked for; the text names the setting."""


class FleetError(BlueGreenError):
    """The droplets found are not the fleet that the settings describe."""


class DropletRefusedError(BlueGreenError):
    """A droplet, or whatever answers at its address, must not be trusted."""


class HostKeyError(DropletRefusedError):
    """The SSH host key differs from the recorded one, or none is recorded."""


class AgentRefusedError(BlueGreenError):
    """The agent of a machine refused a request.

    :param code: the agent's code (:class:`agent.protocol.Code`), for example ``locked`` or ``unhealthy``, or
        this side's own.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        # Another call of the agent, or a reload of HAProxy, takes seconds there.
        self.transient = code in (Code.BUSY, Code.TOO_SLOW)


class ProxyError(AgentRefusedError):
    """A proxy refused a request, or its state does not allow it."""
