"""Which proxies a deploy has reached: the others serve nobody, and keep no rollback from its work."""

from __future__ import annotations

from collections.abc import Mapping

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.traffic.agent_answers import ProxyStatus


def not_reached(statuses: Mapping[Droplet, ProxyStatus | BlueGreenError]) -> list[Droplet]:
    """Return the proxies that no deploy has reached yet; none if that would be all.

    Every deploy needs all proxies, and lets each know of all. So one that does not answer has not been
    reached if none that was knows it. Where one has never noted that, or its address is not known, it counts
    as reached: it may well send traffic somewhere.

    :param statuses: what each proxy says, or why it does not.
    """
    told = {one: said for one, said in statuses.items() if isinstance(said, ProxyStatus)}
    notes = [said.reached for said in told.values() if said.is_deployed_to]

    def is_unknown(address: str) -> bool:
        return bool(notes) and all(note is not None and address not in note for note in notes)

    found = []
    for droplet in statuses:
        said = told.get(droplet)
        silent = said is None and droplet.public is not None and is_unknown(str(droplet.public))
        if droplet.is_new or silent or (said is not None and not said.is_deployed_to):
            found.append(droplet)
    return found if len(found) < len(statuses) else []
