"""Addresses and networks as a setting."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

_ALLOWED = (
    "allowed are addresses and networks in quotes, for example "
    '"203.0.113.7", "198.51.100.0/24", "2001:db8::/32"'
)


def _network(value: Any) -> IPv4Network | IPv6Network:
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    # Python reads a number as an address: 10 as 0.0.0.10.
    if not isinstance(value, str):
        raise ValueError(_ALLOWED)
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; {_ALLOWED}") from None
    if isinstance(network, IPv6Network):
        if getattr(network.network_address, "scope_id", None):
            raise ValueError(f"a zone means nothing to HAProxy; {_ALLOWED}")
        if network.network_address.ipv4_mapped is not None:
            raise ValueError(f"write it as an IPv4 network; {_ALLOWED}")
    return network


# An IPv4 or IPv6 network; a single address is a network of one.
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]

# More than the largest CDNs list.
Networks = Annotated[list[Network], Field(max_length=1000)]
