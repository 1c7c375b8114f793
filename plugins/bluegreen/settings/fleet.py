"""Which droplets an app has, and what its clients connect to: the section ``fleet``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from bluegreen.patterns import DEBIAN_PACKAGE, TAG, whole
from bluegreen.settings.section import Line, Section

Tag = Annotated[str, Field(pattern=whole(TAG))]
Package = Annotated[str, Field(pattern=whole(DEBIAN_PACKAGE))]
MOST_PACKAGES = 200


class EntryPoint(StrEnum):
    """The kinds of address that clients of an app connect to."""

    DROPLET = "droplet"
    RESERVED_IP = "reserved_ip"
    MANAGED_LOAD_BALANCER = "managed_load_balancer"


class Tags(Section):
    """DigitalOcean tags that state the role of a droplet."""

    app: Tag
    blue: Tag = "env:blue"
    green: Tag = "env:green"
    proxy: Tag = "role:loadbalancer"

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


class FleetSettings(Section):
    """The droplets that provisioning creates."""

    region: Line
    size: Line
    proxy_size: Line | None = None
    image: Line
    vpc: Line | None = None
    ssh_keys: Annotated[list[Line], Field(min_length=1)]
    droplets_per_color: Annotated[int, Field(ge=1, le=100)] = 2
    proxies: Annotated[int, Field(ge=1, le=10)] = 1
    entry_point: EntryPoint = EntryPoint.DROPLET
    packages: Annotated[list[Package], Field(max_length=MOST_PACKAGES)] = []
    tags: Tags
