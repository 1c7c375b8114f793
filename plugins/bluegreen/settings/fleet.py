"""Which droplets an app has, and what its clients connect to: the section ``fleet``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from bluegreen.patterns import DEBIAN_PACKAGE, TAG, whole
from bluegreen.settings.networks import Network
from bluegreen.settings.section import Line, Section

Tag = Annotated[str, Field(pattern=whole(TAG))]
Package = Annotated[str, Field(pattern=whole(DEBIAN_PACKAGE))]
MOST_PACKAGES = 200
MOST_NETWORKS = 20


class EntryPoint(StrEnum):
    """The kinds of address that clients of an app connect to."""

    DROPLET = "droplet"
    RESERVED_IP = "reserved_ip"
    MANAGED_LOAD_BALANCER = "managed_load_balancer"


class Tags(Section):
    """DigitalOcean tags that state the role of a droplet."""

    app: Annotated[Tag, Field(examples=["app:my_perl_app"])]
    """On every droplet of this app, and on no other."""
    blue: Tag = "env:blue"
    """On the droplets of the color blue. Other apps may use this tag, and the next two."""
    green: Tag = "env:green"
    """On the droplets of the color green."""
    proxy: Tag = "role:loadbalancer"
    """On the proxies."""

    @model_validator(mode="after")
    def _different(self) -> Self:
        """Refuse tags that differ only in case, which DigitalOcean ignores."""
        tags = self.model_dump()
        for tag in tags.values():
            same = [other for other, found in tags.items() if found.casefold() == tag.casefold()]
            if len(same) > 1:
                raise ValueError(f"{' and '.join(same)} are the same tag, {tag}; DigitalOcean ignores case")
        return self

    @property
    def balanced(self) -> str:
        """The tag that selects the managed load balancer's targets; nothing else carries it.

        A load balancer selects by one tag, and the tag of proxies may be shared with other apps.
        """
        return f"{self.app}:lb"

    @property
    def own_proxies(self) -> str:
        """The tag that selects the droplets of the proxies' firewall; only this app's proxies carry it."""
        return f"{self.app}:proxy"

    @property
    def own_servers(self) -> str:
        """The tag that selects the droplets of the app droplets' firewall; only this app's carry it."""
        return f"{self.app}:server"


class FleetSettings(Section):
    """The droplets that provisioning creates."""

    region: Annotated[Line, Field(examples=["nyc3"])]
    """The slug of a region of DigitalOcean."""
    size: Annotated[Line, Field(examples=["s-2vcpu-4gb"])]
    """The slug of the size of the app droplets."""
    proxy_size: Annotated[Line | None, Field(examples=["s-1vcpu-2gb"])] = None
    """Size of the proxies; default: the same as `size`. (A proxy is a droplet that runs HAProxy.)"""
    image: Annotated[Line, Field(examples=["debian-12-x64"])]
    """The tests run debian-12-x64 and debian-13-x64. ubuntu-22-04-x64 and ubuntu-24-04-x64 were not run:
    docs/install.md has what differs there.
    """
    vpc: Annotated[Line | None, Field(examples=["production"])] = None
    """Name of the VPC network of new droplets. Default: where the app's droplets are; if there are none yet,
    `bluegreen-<app>-<region>`, which provisioning makes. A region's own is usually called `default-nyc3`.
    """
    ssh_keys: Annotated[list[Line], Field(min_length=1, examples=[["airflow"]])]
    """Names or fingerprints of SSH keys in the DigitalOcean account. One must be the key of the connection
    `bluegreen_ssh`.
    """
    droplets_per_color: Annotated[int, Field(ge=1, le=100)] = 2
    """How many app droplets each color has."""
    proxies: Annotated[int, Field(ge=1, le=10)] = 1
    """How many proxies there are."""
    entry_point: EntryPoint = EntryPoint.DROPLET
    """What clients connect to: `droplet`, the proxies' own addresses; `reserved_ip`, an address that
    provisioning moves to a proxy that works; or `managed_load_balancer`, DigitalOcean's product in front
    of all proxies.
    """
    firewalls: bool = True
    """Whether provisioning makes Cloud Firewalls (docs/install.md has the ports). Set it to false if somebody
    else makes them.
    """
    ssh_from: Annotated[list[Network], Field(max_length=MOST_NETWORKS)] = []
    """Addresses and networks of Airflow, from which SSH is open, for example ["203.0.113.7"]. If there are
    none, SSH is open to everybody, which provisioning and the dry run report.
    """
    packages: Annotated[list[Package], Field(max_length=MOST_PACKAGES)] = []
    """Debian packages that the app, its build or its server needs, besides perl, Starman, Plack, Carton,
    cpanm and build-essential. A new droplet is created with them; a deploy installs those that are missing
    before it builds. For example [libpq-dev, npm].
    """
    tags: Tags
    """Tags at DigitalOcean that say what a droplet is for."""
