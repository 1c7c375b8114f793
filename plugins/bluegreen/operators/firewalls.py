"""Cloud Firewalls: who may connect to the app's droplets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.hooks.firewalls import FirewallsHook
from bluegreen.operators.support.base import BlueGreenOperator

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun

# The XCom with what everybody may do, for the run's last line.
OPEN = "open"


class FirewallsOperator(BlueGreenOperator):
    """Create the app's firewalls, or correct them, and put the droplets that exist behind them."""

    def act(self, run: ThisRun) -> list[str]:
        """Return what was changed, a line each.

        :raises FleetError: if a firewall of that name is not this app's, or does not take effect.
        :raises DigitalOceanError: if the API refuses.
        """
        fleet = self.app.fleet
        if not fleet.firewalls:
            self.log.info("fleet.firewalls is false: the firewalls are somebody else's")
            return []
        if not fleet.ssh_from:
            line = "SSH is open to everybody: set fleet.ssh_from to Airflow's addresses"
            self.log.warning("%s", line)
            run.push(OPEN, line)
        changed = FirewallsHook(self.app.connections.digitalocean).put_up(self.app)
        for line in changed or ["the firewalls are as they should be"]:
            self.log.info("%s", line)
        return changed
