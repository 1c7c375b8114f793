"""Everything that one account holds; plain state, without HTTP and without machines."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import itertools
import re
import uuid
from collections.abc import Iterable

from sandbox.api.catalog import IMAGES, REGIONS, SIZES
from sandbox.api.domain_records import DEFAULT_TTL, Domain, DomainRecord
from sandbox.api.edge_records import LoadBalancer, ReservedIp
from sandbox.api.errors import forbidden, invalid, not_found
from sandbox.api.firewall_records import CloudFirewall
from sandbox.api.records import Action, Droplet, Json, Key, Vpc

DROPLET_LIMIT = 100
TAG = re.compile(r"[a-zA-Z0-9_:\-]{1,255}")
PHANTOM_NETWORKS = range(200, 208)
PHANTOMS_PER_NETWORK = 250


class Account:
    """The state behind the API.

    :param private_network: range of the default VPCs.
    :param name_server: the name, or here the address, of the server that answers for all domains.
    """

    def __init__(
        self, private_network: str = "198.19.0.0/24", name_server: str = "ns1.digitalocean.com"
    ) -> None:
        self.uuid = str(uuid.uuid4())
        self.keys: dict[int, Key] = {}
        self.droplets: dict[int, Droplet] = {}
        self.actions: dict[int, Action] = {}
        self.tags: list[str] = []
        self.vpcs: dict[str, Vpc] = {}
        self.load_balancers: dict[str, LoadBalancer] = {}
        self.reserved_ips: dict[str, ReservedIp] = {}
        self.firewalls: dict[str, CloudFirewall] = {}
        self.domains: dict[str, Domain] = {}
        self._private_network = private_network
        self._name_server = name_server
        self._ids = itertools.count(400_000_001)
        self._phantoms = itertools.count()
        for region in REGIONS:
            self.add_vpc(f"default-{region}", region, private_network)

    def show(self) -> Json:
        """Return the account as the API shows it."""
        return {
            "droplet_limit": DROPLET_LIMIT,
            "floating_ip_limit": 3,
            "reserved_ip_limit": 3,
            "volume_limit": 10,
            "email": "sandbox@example.com",
            "name": "Sandbox",
            "uuid": self.uuid,
            "email_verified": True,
            "status": "active",
            "status_message": "",
            "team": {"uuid": self.uuid, "name": "Sandbox"},
        }

    def next_id(self) -> int:
        """Return an id that nothing has had yet."""
        return next(self._ids)

    # Keys

    def add_key(self, name: str, public_key: str) -> Key:
        """Add an SSH key; each can be there once."""
        fingerprint = _fingerprint(public_key)
        if any(key.fingerprint == fingerprint for key in self.keys.values()):
            raise invalid("SSH Key is already in use on your account")
        key = Key(self.next_id(), name, public_key.strip(), fingerprint)
        self.keys[key.id] = key
        return key

    def key(self, identifier: str | int) -> Key:
        """Find a key by its id or fingerprint."""
        for key in self.keys.values():
            if str(identifier) in (str(key.id), key.fingerprint):
                return key
        raise not_found()

    # Tags

    def add_tag(self, name: str) -> str:
        """Make a tag, unless it exists; returns it as it was first written."""
        if not TAG.fullmatch(name):
            raise invalid(
                "Name can only contain letters, numbers, colons, dashes and underscores, up to 255 characters"
            )
        for tag in self.tags:
            if tag.lower() == name.lower():
                return tag
        self.tags.append(name)
        return name

    def tag(self, name: str) -> str:
        """Find a tag."""
        if name not in self.tags:
            raise not_found()
        return name

    def delete_tag(self, name: str) -> None:
        """Take a tag from everything that has it, and remove it."""
        self.tags.remove(self.tag(name))
        for droplet in self.droplets.values():
            if name in droplet.tags:
                droplet.tags.remove(name)

    def tagged(self, name: str) -> list[Droplet]:
        """Return the droplets that have a tag."""
        return [droplet for droplet in self.droplets.values() if name in droplet.tags]

    # VPCs

    def add_vpc(self, name: str, region: str, ip_range: str, description: str = "") -> Vpc:
        """Make a VPC; a region's first one is its default."""
        default = not any(vpc.region == region for vpc in self.vpcs.values())
        vpc = Vpc(str(uuid.uuid4()), name, region, ip_range or self._private_network, default, description)
        self.vpcs[vpc.id] = vpc
        return vpc

    def vpc(self, identifier: str) -> Vpc:
        """Find a VPC."""
        if identifier not in self.vpcs:
            raise not_found()
        return self.vpcs[identifier]

    def default_vpc(self, region: str) -> Vpc:
        """Return the default VPC of a region."""
        return next(vpc for vpc in self.vpcs.values() if vpc.region == region and vpc.default)

    def make_default(self, vpc: Vpc) -> None:
        """Let a VPC be its region's default instead of another."""
        self.default_vpc(vpc.region).default = False
        vpc.default = True

    def members(self, vpc: str) -> dict[str, Droplet | LoadBalancer]:
        """Return what is in a VPC, by its uniform resource name."""
        droplets = {f"do:droplet:{one.id}": one for one in self.droplets.values() if one.vpc_uuid == vpc}
        balancers = self.load_balancers.values()
        return {**droplets, **{f"do:loadbalancer:{one.id}": one for one in balancers if one.vpc_uuid == vpc}}

    def delete_vpc(self, identifier: str) -> None:
        """Remove a VPC that is empty and nobody's default."""
        if self.vpc(identifier).default:
            raise forbidden("Can not delete default VPCs")
        if self.members(identifier):
            raise forbidden("Can not delete VPC with members")
        del self.vpcs[identifier]

    # Droplets and actions

    def droplet(self, identifier: int) -> Droplet:
        """Find a droplet."""
        if identifier not in self.droplets:
            raise not_found()
        return self.droplets[identifier]

    def add_action(self, droplet: Droplet, kind: str) -> Action:
        """Begin an action on a droplet; one at a time."""
        if any(action.status == "in-progress" for action in self.actions_of(droplet.id)):
            raise invalid("Droplet already has a pending event.")
        action = Action(self.next_id(), kind, droplet.id, droplet.region)
        self.actions[action.id] = action
        return action

    def actions_of(self, droplet: int) -> list[Action]:
        """Return a droplet's actions, the latest first."""
        return [action for action in reversed(self.actions.values()) if action.resource_id == droplet]

    # Load balancers and reserved IPs

    def targets(self, balancer: LoadBalancer) -> list[Droplet]:
        """Return a load balancer's droplets: those in its network that have its tag or are named."""
        chosen = self.tagged(balancer.tag) if balancer.tag else self.droplets.values()
        return [
            droplet
            for droplet in chosen
            if (balancer.tag or droplet.id in balancer.droplet_ids) and droplet.vpc_uuid == balancer.vpc_uuid
        ]

    def holder(self, reserved: ReservedIp) -> Droplet | None:
        """Return the droplet that a reserved IP leads to."""
        return self.droplets.get(reserved.droplet or 0)

    def add_ip_action(self, reserved: ReservedIp, kind: str) -> Action:
        """Begin an action on a reserved IP."""
        number = int(ipaddress.IPv4Address(reserved.ip))
        action = Action(self.next_id(), kind, number, reserved.region, resource_type="reserved_ip")
        self.actions[action.id] = action
        return action

    def ip_actions_of(self, reserved: ReservedIp) -> list[Action]:
        """Return a reserved IP's actions, the latest first."""
        return self.actions_of(int(ipaddress.IPv4Address(reserved.ip)))

    # Domains

    def add_domain(self, name: str) -> Domain:
        """Add a domain, which has its name server from the beginning."""
        self.domains[name] = domain = Domain(name)
        self.add_record(domain, "NS", "@", f"{self._name_server}.")
        return domain

    def add_record(
        self, domain: Domain, kind: str, name: str, data: str, ttl: int = DEFAULT_TTL
    ) -> DomainRecord:
        """Add a record to a domain; several may be equal."""
        record = DomainRecord(self.next_id(), kind, name, data, ttl)
        domain.records[record.id] = record
        return record

    # Droplets that are not there

    def add_phantoms(self, count: int, name: str, tags: Iterable[str], *, private: bool) -> list[Droplet]:
        """Add droplets that exist in the API only, for lists longer than this machine could run.

        :param private: whether they have a private address.
        """
        made = []
        tags = [self.add_tag(tag) for tag in tags]
        for number in range(1, count + 1):
            network, host = divmod(next(self._phantoms), PHANTOMS_PER_NETWORK)
            octets = f"{PHANTOM_NETWORKS[network % len(PHANTOM_NETWORKS)]}.{host + 1}"
            made.append(
                Droplet(
                    id=self.next_id(),
                    name=f"{name}-{number}",
                    region="nyc3",
                    size=SIZES["s-1vcpu-1gb"],
                    image=IMAGES["debian-12-x64"],
                    vpc_uuid=self.default_vpc("nyc3").id,
                    tags=list(tags),
                    status="active",
                    public_address=f"198.18.{octets}",
                    private_address=f"198.19.{octets}",
                    gateway=f"198.18.{octets.partition('.')[0]}.1",
                    phantom=True,
                    hide_private=not private,
                )
            )
        self.droplets.update((droplet.id, droplet) for droplet in made)
        return made


def _fingerprint(public_key: str) -> str:
    words = public_key.split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        blob = b""
    if not blob[4:].startswith(words[0].encode() if words else b"-"):
        raise invalid("Key invalid, key should be of the format `type key [comment]`")
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
