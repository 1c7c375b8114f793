"""The droplets of an app by role, as DigitalOcean's API describes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from pydantic import BaseModel, ConfigDict, field_serializer

from bluegreen.color import Color
from bluegreen.errors import FleetError
from bluegreen.fleet.host_keys import public_key_from_tags
from bluegreen.settings.app import App
from bluegreen.settings.fleet import Tags

PROXY_ROLE = "lb"


class Droplet(BaseModel):
    """One droplet.

    :param public: its own public address; never a reserved IP, which can move.
    :param private: its address in the private network that its fleet shares.
    :param network: the range of that network, or ``None`` if the API did not state it.
    :param interfaces: its addresses in all its private networks.
    :param locked: whether DigitalOcean is creating, resizing or restoring it.
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
    interfaces: tuple[IPv4Interface, ...] = ()
    locked: bool = False
    tags: frozenset[str] = frozenset()
    host_key: str | None = None
    vpc: str | None = None
    memory: int = 0
    vcpus: int = 0

    @field_serializer("tags", when_used="json")
    def _tags_in_order(self, tags: frozenset[str]) -> list[str]:
        """Sort the tags: a plan is sealed by its JSON, and a set has no fixed order."""
        return sorted(tags)

    @classmethod
    def from_api(cls, data: Mapping[str, Any], reserved: Collection[str] = ()) -> Droplet:
        """Read one element of ``droplets`` in an answer of DigitalOcean's API.

        :param reserved: reserved IPs, which the API lists as additional public addresses of their droplets.
        :raises ValueError: (or another built-in error) if the element is not as the API describes it.
        """
        public = public_addresses(data)
        # In practice a droplet's own address precedes a reserved IP, but the API does not promise it.
        own = [address for address in public if address not in reserved] or public
        private = [one for one in _networks(data) if one["type"] == "private"]
        interfaces = [
            IPv4Interface(f"{one['ip_address']}/{one['netmask']}") for one in private if one.get("netmask")
        ]
        tags = frozenset(data.get("tags") or [])
        return cls(
            id=data["id"],
            name=data["name"],
            status=data["status"],
            public=IPv4Address(own[0]) if own else None,
            private=private[0]["ip_address"] if private else None,
            network=interfaces[0].network if interfaces and len(interfaces) == len(private) else None,
            interfaces=tuple(interfaces),
            locked=data.get("locked") is True,
            tags=tags,
            host_key=public_key_from_tags(tags),
            vpc=data.get("vpc_uuid"),
            memory=data.get("memory") or 0,
            vcpus=data.get("vcpus") or 0,
        )

    def in_network(self, network: IPv4Network) -> Droplet:
        """Return the same droplet with its private address in the given network, if it has one there."""
        for interface in self.interfaces:
            if interface.network == network:
                return self.model_copy(update={"private": interface.ip, "network": network})
        return self

    def has_tag(self, tag: str) -> bool:
        """Whether it has a tag; DigitalOcean shows a tag as it was first written, and ignores case."""
        return tag.casefold() in {one.casefold() for one in self.tags}

    @property
    def label(self) -> str:
        """The name and public address, for messages."""
        return f"{self.name} ({self.public})"

    @property
    def off(self) -> str | None:
        """Describe its state if it is not running."""
        if self.status == "active":
            return None
        advice = "power it on"
        if self.is_new or self.locked:
            advice = "DigitalOcean is at work on it, so wait for the end of that"
        elif self.status == "archive":
            advice = "restore it in DigitalOcean's panel, or remove its tags"
        return f"{self.name} is {self.status!r} instead of active; {advice}"

    @property
    def is_new(self) -> bool:
        """Whether DigitalOcean is still making it."""
        return self.status == "new"

    @property
    def problems(self) -> list[str]:
        """The reason why it cannot take part in a deploy; empty if it can."""
        found = [self.off] if self.off else []
        if self.public is None:
            found.append(f"{self.name} has no public address, so Airflow cannot reach it by SSH")
        if self.private is None:
            found.append(f"{self.name} has no private address; it must be in the VPC")
        return found


class Fleet(BaseModel):
    """All droplets of one app, each list sorted by name."""

    model_config = ConfigDict(frozen=True)

    proxies: tuple[Droplet, ...]
    blue: tuple[Droplet, ...]
    green: tuple[Droplet, ...]

    def color(self, color: Color) -> tuple[Droplet, ...]:
        """Return the application droplets of one color."""
        return self.blue if color is Color.BLUE else self.green

    @property
    def droplets(self) -> tuple[Droplet, ...]:
        """Every droplet, proxies first."""
        return self.proxies + self.blue + self.green

    @property
    def network(self) -> IPv4Network:
        """The range of the private network that all proxies are in.

        :raises FleetError: if they are not in one network, or the API did not state it.
        """
        found = {droplet.network for droplet in self.proxies}
        if len(found) != 1 or None in found:
            networks = ", ".join(f"{droplet.name}: {droplet.network}" for droplet in self.proxies)
            raise FleetError(f"a managed load balancer reaches droplets of one VPC network only ({networks})")
        return next(network for network in found if network is not None)

    @classmethod
    def of(cls, droplets: Iterable[Droplet], tags: Tags) -> Fleet:
        """Sort droplets into roles by their tags.

        :raises FleetError: naming every droplet that has no role, or more than one.
        """
        fleet, problems = cls.sorted(droplets, tags)
        if problems:
            raise FleetError("; ".join(problems.values()))
        return fleet

    @classmethod
    def sorted(cls, droplets: Iterable[Droplet], tags: Tags) -> tuple[Fleet, dict[Droplet, str]]:
        """Sort droplets into roles; describe each droplet that has no role, or more than one."""
        roles = {tags.proxy: "proxies", tags.blue: "blue", tags.green: "green"}
        sorted_by_role: dict[str, list[Droplet]] = {role: [] for role in roles.values()}
        problems = {}
        for droplet in sorted(_in_one_network(droplets), key=lambda one: one.name):
            own_roles = {tag: role for tag, role in roles.items() if droplet.has_tag(tag)}
            if len(own_roles) == 1:
                sorted_by_role[own_roles.popitem()[1]].append(droplet)
            else:
                found = ", ".join(sorted(own_roles)) or "none"
                problems[droplet] = (
                    f"{droplet.name} must have one of the tags {', '.join(roles)}; it has {found}"
                )
        return cls(**{role: tuple(members) for role, members in sorted_by_role.items()}), problems

    def without(self, droplets: Iterable[Droplet]) -> Fleet:
        """Return the fleet without some of its droplets."""
        gone = {droplet.id for droplet in droplets}

        def rest(members: tuple[Droplet, ...]) -> tuple[Droplet, ...]:
            return tuple(one for one in members if one.id not in gone)

        return Fleet(proxies=rest(self.proxies), blue=rest(self.blue), green=rest(self.green))

    def problems(self, of: Iterable[Droplet] | None = None) -> list[str]:
        """The reasons why these droplets cannot take part in a deploy; empty if they can.

        :param of: the droplets that have to be powered on and have addresses; default: all.
        """
        found = [
            f"there is no droplet for {role}; run the provision DAG"
            for role, members in (
                ("proxying", self.proxies),
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
        for droplet in self.droplets if of is None else of:
            found += droplet.problems
        return found


def public_addresses(data: Mapping[str, Any]) -> list[str]:
    """Return every public IPv4 address that the API lists for a droplet, in its order."""
    return [one["ip_address"] for one in _networks(data) if one["type"] == "public"]


def _networks(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = (data.get("networks") or {}).get("v4") or []
    return [one for one in found if one.get("type") and one.get("ip_address")]


def _in_one_network(droplets: Iterable[Droplet]) -> list[Droplet]:
    """Give droplets in several private networks their addresses in the network that most of them share."""
    members = list(droplets)
    shared = Counter(interface.network for one in members for interface in one.interfaces).most_common(1)
    return [one.in_network(shared[0][0]) if len(one.interfaces) > 1 else one for one in members]


def droplet_names(app: App) -> dict[str, str]:
    """Names of the droplets that the settings ask for, each with the tag of its role."""
    tags = app.fleet.tags
    counts = (
        (PROXY_ROLE, tags.proxy, app.fleet.proxies),
        (Color.BLUE.value, tags.blue, app.fleet.droplets_per_color),
        (Color.GREEN.value, tags.green, app.fleet.droplets_per_color),
    )
    # DigitalOcean refuses underscores in droplet names.
    prefix = app.id.replace("_", "-")
    return {f"{prefix}-{role}-{number}": tag for role, tag, count in counts for number in range(1, count + 1)}
