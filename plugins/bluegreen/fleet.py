"""The droplets of an app by role, as DigitalOcean's API describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from pydantic import BaseModel, ConfigDict

from bluegreen.app import App, Tags
from bluegreen.color import Color
from bluegreen.errors import FleetError
from bluegreen.hostkey import public_key_from_tags

LOAD_BALANCER_ROLE = "lb"


class Droplet(BaseModel):
    """One droplet.

    :param network: the range of its private network, or ``None`` if the API did not say.
    :param host_key: its recorded SSH host key, ``ssh-ed25519 …``, or ``None`` if none was recorded.
    :param vpc: id of its VPC network.
    :param memory: megabytes.
    :param vcpus: processors.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    status: str
    public: IPv4Address | None
    private: IPv4Address | None
    network: IPv4Network | None = None
    tags: frozenset[str] = frozenset()
    host_key: str | None = None
    vpc: str | None = None
    memory: int = 0
    vcpus: int = 0

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Droplet:
        """Read one element of ``droplets`` in an answer of DigitalOcean's API."""
        interfaces = {one["type"]: one for one in (data.get("networks") or {}).get("v4") or []}
        addresses = {kind: one["ip_address"] for kind, one in interfaces.items()}
        mask = interfaces.get("private", {}).get("netmask")
        tags = frozenset(data.get("tags") or [])
        return cls(
            id=data["id"],
            name=data["name"],
            status=data["status"],
            public=addresses.get("public"),
            private=addresses.get("private"),
            network=IPv4Network(f"{addresses['private']}/{mask}", strict=False) if mask else None,
            tags=tags,
            host_key=public_key_from_tags(tags),
            vpc=data.get("vpc_uuid"),
            memory=data.get("memory") or 0,
            vcpus=data.get("vcpus") or 0,
        )

    @property
    def label(self) -> str:
        """How people see it: name and public address."""
        return f"{self.name} ({self.public})"

    @property
    def off(self) -> str | None:
        """Say so if it does not run, or not yet."""
        if self.status == "active":
            return None
        return f"{self.name} is {self.status!r} instead of active; power it on"


class Fleet(BaseModel):
    """All droplets of one app, each list sorted by name."""

    model_config = ConfigDict(frozen=True)

    load_balancers: tuple[Droplet, ...]
    blue: tuple[Droplet, ...]
    green: tuple[Droplet, ...]

    def color(self, color: Color) -> tuple[Droplet, ...]:
        """Return the application droplets of one color."""
        return self.blue if color is Color.BLUE else self.green

    @property
    def droplets(self) -> tuple[Droplet, ...]:
        """Every droplet, load balancers first."""
        return self.load_balancers + self.blue + self.green

    @property
    def network(self) -> IPv4Network:
        """The range of the private network that all load balancers are in.

        :raises FleetError: if they are not in one, or the API did not say.
        """
        found = {droplet.network for droplet in self.load_balancers}
        if len(found) != 1 or None in found:
            told = ", ".join(f"{droplet.name}: {droplet.network}" for droplet in self.load_balancers)
            raise FleetError(f"a managed load balancer reaches droplets of one VPC network only ({told})")
        return next(network for network in found if network is not None)

    @classmethod
    def of(cls, droplets: Iterable[Droplet], tags: Tags) -> Fleet:
        """Sort droplets into roles by their tags.

        :raises FleetError: naming every droplet that has no role, or more than one.
        """
        roles = {tags.load_balancer: "load_balancers", tags.blue: "blue", tags.green: "green"}
        sorted_by_role: dict[str, list[Droplet]] = {role: [] for role in roles.values()}
        problems = []
        for droplet in sorted(droplets, key=lambda one: one.name):
            own_roles = [role for tag, role in roles.items() if tag in droplet.tags]
            if len(own_roles) == 1:
                sorted_by_role[own_roles[0]].append(droplet)
            else:
                found = ", ".join(sorted(droplet.tags & roles.keys())) or "none"
                problems.append(
                    f"{droplet.name} must have one of the tags {', '.join(roles)}; it has {found}"
                )
        if problems:
            raise FleetError("; ".join(problems))
        return cls(**{role: tuple(members) for role, members in sorted_by_role.items()})

    def problems(self, *, servers_may_be_off: bool = False) -> list[str]:
        """Why these droplets cannot take a deploy; empty if they can.

        :param servers_may_be_off: whether only load balancers have to be powered on.
        """
        found = [
            f"there is no droplet for {role}; run the provision DAG"
            for role, members in (
                ("load balancing", self.load_balancers),
                ("blue", self.blue),
                ("green", self.green),
            )
            if not members
        ]
        names = Counter(droplet.name for droplet in self.droplets)
        found += [
            f"{count} droplets are named {name}; remove all but one"
            for name, count in names.items()
            if count > 1
        ]
        for droplet in self.droplets:
            if droplet.off and (droplet in self.load_balancers or not servers_may_be_off):
                found.append(droplet.off)
            found += _problems_of(droplet)
        return found


def _problems_of(droplet: Droplet) -> list[str]:
    found = []
    if droplet.public is None:
        found.append(f"{droplet.name} has no public address, so Airflow cannot reach it by SSH")
    if droplet.private is None:
        found.append(f"{droplet.name} has no private address; it must be in the VPC")
    return found


def droplet_names(app: App) -> dict[str, str]:
    """Names of the droplets that the settings ask for, each with the tag of its role."""
    tags = app.fleet.tags
    counts = (
        (LOAD_BALANCER_ROLE, tags.load_balancer, app.fleet.load_balancers),
        (Color.BLUE.value, tags.blue, app.fleet.droplets_per_color),
        (Color.GREEN.value, tags.green, app.fleet.droplets_per_color),
    )
    # DigitalOcean refuses underscores in droplet names.
    prefix = app.id.replace("_", "-")
    return {f"{prefix}-{role}-{number}": tag for role, tag, count in counts for number in range(1, count + 1)}
