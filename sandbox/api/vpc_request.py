"""Reading a request for a VPC, with DigitalOcean's complaints about it."""

from __future__ import annotations

import ipaddress
import re

from sandbox.api.account import Account
from sandbox.api.catalog import REGIONS
from sandbox.api.errors import invalid
from sandbox.api.records import Json, Vpc
from sandbox.api.requests import field_of

NAME = re.compile(r"[a-zA-Z0-9\-.]{1,255}")
LONGEST_DESCRIPTION = 255
PRIVATE = [ipaddress.IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
SIZES = range(16, 29)


def read(body: Json, account: Account) -> dict[str, str]:
    """Return the arguments of :meth:`Account.add_vpc`.

    :raises ApiError: 422, in DigitalOcean's words.
    """
    region = field_of(body, "region", str)
    if region not in REGIONS:
        raise invalid("Region is invalid")
    return {
        "name": name_of(body, account),
        "region": region,
        "ip_range": _range(field_of(body, "ip_range", str, ""), account),
        "description": description_of(body, ""),
    }


def name_of(body: Json, account: Account, existing: Vpc | None = None) -> str:
    """Return the name that a VPC is to have, which no other one has."""
    name = field_of(body, "name", str)
    if not NAME.fullmatch(name):
        raise invalid("Name may only contain alphanumeric characters, dashes, and periods")
    if any(vpc.name == name and vpc is not existing for vpc in account.vpcs.values()):
        raise invalid("This VPC name is already in use.")
    return name


def description_of(body: Json, before: str) -> str:
    """Return the description that a VPC is to have."""
    description = field_of(body, "description", str, before)
    if len(description) > LONGEST_DESCRIPTION:
        raise invalid(f"Description is too long (maximum is {LONGEST_DESCRIPTION} characters)")
    return description


def _range(wanted: str, account: Account) -> str:
    """Return a VPC's range; if none is asked for, the sandbox's own, which its machines' addresses are in."""
    if not wanted:
        return ""
    try:
        network = ipaddress.IPv4Network(wanted)
    except ValueError:
        raise invalid("ip_range is not a valid CIDR") from None
    if network.prefixlen not in SIZES or not any(network.subnet_of(one) for one in PRIVATE):
        raise invalid("ip_range has to be a private network between /16 and /28")
    for vpc in account.vpcs.values():
        if network.overlaps(ipaddress.IPv4Network(vpc.ip_range)):
            raise invalid(
                f"This range/size overlaps with another VPC network in your account: {vpc.ip_range}"
            )
    return wanted
