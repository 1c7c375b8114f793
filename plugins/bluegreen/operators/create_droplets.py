"""Creating the droplets that the settings ask for and that are not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.errors import FleetError
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.droplets import Droplet, Fleet, droplet_names
from bluegreen.fleet.host_keys import generate
from bluegreen.hooks.vpc import VpcHook
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.settings.fleet import EntryPoint

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class CreateDropletsOperator(BlueGreenOperator):
    """Create each droplet whose name is not there yet; adopt the others.

    Every attempt starts with a list of what exists, and an answer that leaves open whether a droplet was
    created fails the attempt, so that no name is created twice.
    """

    def act(self, run: ThisRun) -> list[str]:
        """Return the names of the droplets that were created.

        :raises FleetError: if the droplets that exist contradict the settings.
        :raises DigitalOceanError: if the API refuses.
        """
        hook = VpcHook(self.app.connections.digitalocean)
        existing = {droplet.name: droplet for droplet in hook.droplets(self.app.fleet.tags.app)}
        Fleet.of(existing.values(), self.app.fleet.tags)
        wanted = droplet_names(self.app)
        self._refuse_contradictions(existing, wanted)
        missing = {name: tag for name, tag in wanted.items() if name not in existing}
        for name in wanted:
            self.log.info("%s: %s", name, "to be created" if name in missing else "exists")
        if not missing:
            return []
        if strangers := [name for name in missing if hook.is_name_taken(name)]:
            raise FleetError(
                f"nothing was created: {', '.join(strangers)} exists without the tag "
                f"{self.app.fleet.tags.app}; "
                "add that tag and the one of its color if it is this app's, or rename it"
            )
        common = {
            "region": self.app.fleet.region,
            "image": self.app.fleet.image,
            "ssh_keys": hook.ssh_key_ids(self.app.fleet.ssh_keys),
            "vpc_uuid": hook.vpc_for(self.app, existing.values()).id,
        }
        for name, tag in missing.items():
            hook.create_droplet({**common, **self._own(name, tag)})
            self.log.info("%s: created", name)
        return list(missing)

    def _refuse_contradictions(self, existing: dict[str, Droplet], wanted: dict[str, str]) -> None:
        problems = [
            f"{name} exists without its tag {tag}; add it, or destroy the droplet"
            for name, tag in wanted.items()
            if name in existing and tag not in existing[name].tags
        ]
        problems += [
            f"{name} carries the tag {self.app.fleet.tags.app} but is not asked for by the settings; raise "
            "the number of droplets there, or destroy it"
            for name in existing
            if name not in wanted
        ]
        if problems:
            raise FleetError("nothing was created: " + "; ".join(problems))

    def _own(self, name: str, tag: str) -> dict[str, Any]:
        fleet = self.app.fleet
        is_proxy = tag == fleet.tags.proxy
        is_balanced = is_proxy and fleet.entry_point is EntryPoint.MANAGED_LOAD_BALANCER
        balanced = [fleet.tags.balanced] if is_balanced else []
        # Its firewall is in effect before the droplet is there.
        walled = [fleet.tags.own_proxies if is_proxy else fleet.tags.own_servers] if fleet.firewalls else []
        host_key = generate()
        return {
            "name": name,
            "size": (fleet.proxy_size if is_proxy else None) or fleet.size,
            "tags": [fleet.tags.app, tag, *balanced, *walled, host_key.tag],
            "user_data": render_user_data(
                app=self.app_id, proxy=is_proxy, host_key=host_key, packages=self.app.fleet.packages
            ),
        }
