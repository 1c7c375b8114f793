"""DigitalOcean's private networks (VPCs)."""

from __future__ import annotations

from collections.abc import Iterable

from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.vpc import Vpc, choose_vpc, own_vpc_name, vpc_request
from bluegreen.hooks.digitalocean import DigitalOceanError, DigitalOceanHook, described
from bluegreen.settings.app import App


class VpcHook(DigitalOceanHook):
    """Private networks of one DigitalOcean account."""

    def vpcs(self) -> list[Vpc]:
        """Return every network of the account."""
        items = list(self._list("vpcs", self.client.vpcs.list))
        with described("vpcs"):
            return [Vpc.from_api(one) for one in items]

    def vpc_for(self, app: App, droplets: Iterable[Droplet]) -> Vpc:
        """Return the network for an app's new droplets, and make the app's own if that has to be there.

        Names are unique in the account, so whatever became of an earlier try, there is one in the end.

        :param droplets: those of the app.
        :raises FleetError: see :func:`choose_vpc`.
        :raises DigitalOceanError: if the API refuses.
        """
        members = list(droplets)
        return choose_vpc(app, self.vpcs(), members) or self._create(app)

    def _create(self, app: App) -> Vpc:
        name = own_vpc_name(app)
        try:
            answer = self._call(f"create VPC {name}", self.client.vpcs.create, body=vpc_request(app))
        except DigitalOceanError as error:
            raise self._refused_vpc(error) from None
        self.log.info("VPC %s: created", name)
        with described("vpc"):
            return Vpc.from_api(self._member(answer, "vpc", dict))

    def _refused_vpc(self, error: DigitalOceanError) -> DigitalOceanError:
        text = str(error)
        if "(403)" in text:
            advice = f"give the token of connection {self.conn_id!r} the scope vpc:create"
            return DigitalOceanError(f"{text}; {advice}, or name a network in fleet.vpc", transient=False)
        # Of two networks that are made at once, DigitalOcean gives both the same range, and refuses one:
        # https://github.com/digitalocean/terraform-provider-digitalocean/issues/551
        return DigitalOceanError(text, transient=error.transient or "(422)" in text or "(409)" in text)
