"""The app's other proxies: where they send traffic, and whether they keep a switch."""

from __future__ import annotations

from agent.http_client import Question, http_get
from agent.proxy.messages import PendingRecord
from agent.proxy.switch_state import time_left
from agent.system import CallDeadline

# Seconds after its deadline that a switch which was being confirmed is decided: the other proxies, which may
# not have got so far, have gone back by then.
PEERS_WAIT = 5.0
# Seconds for the answer of each of them.
PEER_WAIT = 1.0


class Peers:
    """The other proxies of a pending switch, asked over HTTP like a client.

    :param port: HAProxy's public port.
    """

    def __init__(self, port: int, deadline: CallDeadline) -> None:
        self.port, self.deadline = port, deadline

    def colors(self, pending: PendingRecord) -> set[str]:
        """Where they send traffic; those that do not answer are left out."""
        question, colors = Question.of(pending), set()
        for peer in pending.get("peers", []):
            colors.add(http_get(peer, self.port, question, self.deadline.left(PEER_WAIT))["color"])
        return {color for color in colors if color}

    def keep(self, pending: PendingRecord) -> bool:
        """Whether they keep the switch, once all have decided; silence is a yes."""
        self.deadline.sleep(min(PEERS_WAIT, time_left(pending) + PEERS_WAIT))
        return pending["from"] not in self.colors(pending)
