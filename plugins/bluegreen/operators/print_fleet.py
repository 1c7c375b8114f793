"""The fleet as a table in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.base import BlueGreenOperator

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class PrintFleetOperator(BlueGreenOperator):
    """Print every droplet of the app with its role and addresses."""

    def act(self, run: ThisRun) -> list[dict[str, Any]]:
        """Return the droplets as dictionaries."""
        fleet = self.read_fleet()
        roles = (("proxy", fleet.proxies), ("blue", fleet.blue), ("green", fleet.green))
        for role, droplets in roles:
            for droplet in droplets:
                self.log.info(
                    "%-14s %-30s public %-15s private %-15s %s",
                    role,
                    droplet.name,
                    droplet.public,
                    droplet.private,
                    droplet.status,
                )
        return [droplet.model_dump(mode="json") for droplet in fleet.droplets]
