"""What HAProxy does with clients' requests: the section ``traffic``."""

from __future__ import annotations

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bluegreen.patterns import HOST_NAME, LONGEST_HOST_NAME
from bluegreen.settings.fields import AbsolutePath, HostName
from bluegreen.settings.networks import Network, Networks
from bluegreen.settings.section import Line, Section

DEFAULT_PORTS = {"http": 80, "https": 443}

# Seconds that one side may be silent within a request, and both sides of an upgraded connection.
LONGEST_SILENCE = 3600
LONGEST_TUNNEL = 86400


def _public_url(url: str) -> str:
    """Return scheme, host and port as clients send them: lower case, without the scheme's default port."""
    allowed = (
        "allowed is http:// or https://, a host name and perhaps a port, for example https://www.example.com"
    )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(allowed) from None
    if (
        parts.scheme not in DEFAULT_PORTS
        or not re.fullmatch(HOST_NAME, host)
        or len(host) > LONGEST_HOST_NAME
    ):
        raise ValueError(allowed)
    # Comparing the whole URL refuses a user, a path or a query, even an empty one.
    shown = f"{host}:{port}" if port is not None else host
    if url.lower() != f"{parts.scheme}://{shown}" or port == 0:
        raise ValueError(f"{allowed}; nothing before or after that")
    return f"{parts.scheme}://{host if port == DEFAULT_PORTS[parts.scheme] else shown}"


def _not_everybody(networks: list[Network]) -> list[Network]:
    for network in networks:
        if network.prefixlen == 0:
            raise ValueError(
                f"{network} contains every address, so any client could forge its address and scheme; "
                "list the networks of your proxies only"
            )
    return networks


class TrafficSettings(Section):
    """How HAProxy treats clients' requests."""

    preview_host: HostName
    preview_allow: Networks = []
    trusted_proxies: Annotated[Networks, AfterValidator(_not_everybody)] = []
    public_url: Annotated[Line, AfterValidator(_public_url)] | None = None
    certificate: AbsolutePath | None = None
    timeout_client: Annotated[int, Field(ge=1, le=LONGEST_SILENCE)] = 50
    timeout_server: Annotated[int, Field(ge=1, le=LONGEST_SILENCE)] = 50
    timeout_tunnel: Annotated[int, Field(ge=1, le=LONGEST_TUNNEL)] = 3600

    @model_validator(mode="after")
    def _two_hosts(self) -> Self:
        """Refuse equal hosts: clients' requests would go to the idle color."""
        if self.public_url and urlsplit(self.public_url).hostname == self.preview_host:
            raise ValueError(
                f"preview_host and the host of public_url are both {self.preview_host}; "
                "allowed are two different ones"
            )
        return self

    @property
    def public_host(self) -> str | None:
        """The ``Host`` header that clients send: a name, and a port if it is not the scheme's default.

        ``None`` if ``public_url`` is not set; the app is then requested by its server's address.
        """
        return urlsplit(self.public_url).netloc if self.public_url else None

    @property
    def asked(self) -> str:
        """How the app is requested, in words."""
        host = f"with Host {self.public_host}" if self.public_host else "with the server's address as Host"
        return f"{host}, by {'https' if self.https else 'http'}"

    @property
    def https(self) -> bool:
        """Whether clients use https, so that the app has to see ``X-Forwarded-Proto: https``."""
        return bool(self.public_url) and urlsplit(self.public_url).scheme == "https"
