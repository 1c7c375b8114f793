"""One call of the agent: what every verb is given besides its request."""

from __future__ import annotations

from dataclasses import dataclass

from agent.call_lock import CallLock
from agent.paths import Paths
from agent.protocol import Verb
from agent.system import CallDeadline


@dataclass(frozen=True)
class Call:
    """The verb that was called, its deadline and the flock, which is held unless the verb only reads."""

    verb: Verb
    paths: Paths
    deadline: CallDeadline
    lock: CallLock

    @classmethod
    def of(cls, verb: Verb) -> Call:
        """Begin a call: its time runs from now on."""
        paths, deadline = Paths(), CallDeadline(verb.value, verb.deadline)
        return cls(verb, paths, deadline, CallLock(paths.flock, deadline))
