"""A proxy's agent: who is live there, and what moves it."""

from __future__ import annotations

from typing import Any

from agent.protocol import Verb
from bluegreen.errors import ProxyError
from bluegreen.hooks.agent import AgentHook
from bluegreen.traffic.agent_answers import Probe, ProxyStatus


class ProxyHook(AgentHook):
    """One proxy.

    :param droplet_hook: the SSH side of it.
    """

    refusal = ProxyError

    @property
    def peer_address(self) -> str:
        """Where the app's other proxies reach this one, as clients do.

        Not by its private address: behind a managed load balancer, HAProxy wants the PROXY protocol there.
        """
        droplet = self.droplet_hook.droplet
        return str(droplet.public or droplet.private)

    def status(self) -> ProxyStatus:
        """Read everything and change nothing."""
        return ProxyStatus.parse(self.read(Verb.STATUS))

    def probe(self, **request: Any) -> Probe:
        """Make one HTTP request from the proxy and return its result; read only."""
        return Probe.parse(self.read(Verb.PROBE, request["timeout"], **request))

    def ledger(self, last: int) -> list[dict[str, Any]]:
        """Return the last records of the ledger, oldest first; read only."""
        records: list[dict[str, Any]] = self.read(Verb.LEDGER, last=last)["records"]
        return records
