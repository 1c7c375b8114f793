"""The proxies that a deploy has reached; the others have no traffic, and do not prevent a rollback."""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.traffic.agent_answers import ProxyStatus


def not_reached(statuses: Mapping[Droplet, ProxyStatus | BlueGreenError]) -> list[Droplet]:
    """Return the proxies that no deploy has reached yet; none if that would be all.

    Every deploy needs all proxies, and records their addresses on each. So a proxy that does not answer has
    not been reached if no reached proxy knows it. If there is no such record, or its address is unknown, it
    counts as reached: it may have traffic.

    :param statuses: the answer of each proxy, or the reason why there is none.
    """
    answered = {one: status for one, status in statuses.items() if isinstance(status, ProxyStatus)}
    notes = [status.reached for status in answered.values() if status.is_deployed_to]

    def is_unknown(address: str) -> bool:
        return bool(notes) and all(note is not None and address not in note for note in notes)

    found = []
    for droplet in statuses:
        status = answered.get(droplet)
        silent = status is None and droplet.public is not None and is_unknown(str(droplet.public))
        if droplet.is_new or silent or (status is not None and not status.is_deployed_to):
            found.append(droplet)
    return found if len(found) < len(statuses) else []
