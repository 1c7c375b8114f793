"""A proxy's agent: who is live there, and what moves it."""

from __future__ import annotations

from collections.abc import Sequence
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

    def probe(self, *, address: str, port: int, **question: Any) -> Probe:
        """Make one HTTP request from the proxy and return its result; read only.

        :param question: ``path``, ``timeout`` in seconds, and how the app is asked.
        """
        return self.probe_all([(address, port)], **question)[0]

    def probe_all(self, servers: Sequence[tuple[str, int]], **question: Any) -> list[Probe]:
        """Make the same HTTP request to some servers at once; read only.

        :param servers: their addresses and ports, at most 256.
        :param question: ``path``, ``timeout`` in seconds, and how the app is asked.
        :return: the results in the same order.
        """
        named = [{"address": address, "port": port} for address, port in servers]
        answer = self.read(Verb.PROBE, question["timeout"], servers=named, **question)
        return [Probe.parse(each) for each in answer["answers"]]

    def ledger(self, last: int) -> list[dict[str, Any]]:
        """Return the last records of the ledger, oldest first; read only."""
        records: list[dict[str, Any]] = self.read(Verb.LEDGER, last=last)["records"]
        return records
