"""A proxy as the verbs see it: everything that they work with, put together for one call."""

from __future__ import annotations

from agent.call import Call
from agent.installation import Installation
from agent.protocol import COLORS, Json
from agent.proxy.boot_unit import BootUnit
from agent.proxy.configuration import Configuration
from agent.proxy.haproxy import Haproxy
from agent.proxy.ledger import Ledger
from agent.proxy.lock import LockStore
from agent.proxy.messages import Counters
from agent.proxy.pending_switch import PendingSwitch
from agent.proxy.revert_timer import RevertTimer
from agent.proxy.switch_state import SwitchState
from agent.proxy.traffic import Traffic


class Proxy:
    """HAProxy, its configuration and traffic, the run that may change them, and the ledger."""

    def __init__(self, call: Call) -> None:
        paths, deadline = call.paths, call.deadline
        self.paths = paths
        self.installation = Installation(paths)
        self.haproxy = Haproxy(paths, deadline)
        self.configuration = Configuration(paths, self.haproxy)
        self.state = SwitchState(paths.traffic)
        self.traffic = Traffic(paths, self.haproxy, self.state)
        self.lock_store = LockStore(paths.lock)
        self.ledger = Ledger(paths.ledger)
        self.timer = RevertTimer(self.installation, deadline)
        self.boot_unit = BootUnit(paths, self.installation, deadline)
        self.pending = PendingSwitch(call, self.state, self.traffic, self.timer, self.boot_unit)

    @classmethod
    def to_change(cls, call: Call, request: Json) -> Proxy:
        """Begin a call that changes something: it is over when a pending switch is to be taken back."""
        proxy = cls(call)
        proxy.pending.leave_time_for_the_way_back(request)
        return proxy

    def counters(self) -> dict[str, Counters]:
        """Events since HAProxy's last reload, by color."""
        return {color: self.haproxy.counters(color) for color in COLORS}

    def answer_times(self) -> dict[str, int]:
        """Milliseconds, by color."""
        return {color: self.haproxy.answer_time(color) for color in COLORS}
