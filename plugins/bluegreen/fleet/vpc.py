"""The private network (VPC) of an app's droplets.

A VPC belongs to a region, its name is unique in the account, and a droplet cannot change its VPC:
https://docs.digitalocean.com/products/networking/vpc/details/limits/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.settings.app import App


@dataclass(frozen=True)
class Vpc:
    """A private network of the account.

    :param region: the slug of its region.
    """

    id: str
    name: str
    region: str
    is_default: bool = False

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Vpc:
        """Read one element of ``vpcs`` in an answer of DigitalOcean's API."""
        return cls(str(data["id"]), str(data["name"]), str(data["region"]), bool(data.get("default")))


def own_vpc_name(app: App) -> str:
    """Return the name of the network that an app has for itself; DigitalOcean refuses underscores there."""
    return f"bluegreen-{app.id.replace('_', '-')}-{app.fleet.region}"


def vpc_request(app: App) -> dict[str, str]:
    """Return the body of ``POST /v2/vpcs``; DigitalOcean chooses a range that no other network has."""
    return {
        "name": own_vpc_name(app),
        "region": app.fleet.region,
        "description": f"Droplets of the app {app.id}; made by bluegreen_provision__{app.id}",
    }


def choose_vpc(app: App, existing: Sequence[Vpc], droplets: Iterable[Droplet]) -> Vpc | None:
    """Return the network for new droplets: that of the settings, or where the app's droplets are, or its own.

    :param existing: all networks of the account.
    :param droplets: those of the app.
    :return: ``None`` if the app's own has to be made.
    :raises FleetError: if there is no such network, or the app's droplets are in several.
    """
    if app.fleet.vpc is not None:
        return _named(app.fleet.vpc, app.fleet.region, existing)
    by_id = {one.id: one for one in existing}
    homes = _homes(app, droplets)
    if len(homes) > 1:
        names = ", ".join(sorted(by_id[home].name if home in by_id else home for home in homes))
        raise FleetError(
            f"the proxies are in several VPC networks ({names}); name the one for new droplets in fleet.vpc"
        )
    for home in homes:
        return by_id.get(home) or Vpc(home, home, app.fleet.region)
    name = own_vpc_name(app)
    found = next((one for one in existing if one.name == name), None)
    if found is not None and found.region != app.fleet.region:
        raise FleetError(f"VPC {name} is in region {found.region}; rename it, or name another in fleet.vpc")
    return found


def _homes(app: App, droplets: Iterable[Droplet]) -> set[str]:
    """Return the networks of the proxies, which have to reach all others; without proxies, those of all."""
    members = list(droplets)
    proxies = Fleet.sorted(members, app.fleet.tags)[0].proxies
    return {one.vpc for one in proxies if one.vpc} or {one.vpc for one in members if one.vpc}


def _named(name: str, region: str, existing: Sequence[Vpc]) -> Vpc:
    networks = [one for one in existing if one.region == region]
    for one in networks:
        if one.name == name:
            return one
    known = ", ".join(sorted(one.name for one in networks)) or "none"
    raise FleetError(f"no VPC {name} in region {region}; there are: {known}")
