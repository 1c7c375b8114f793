"""What HAProxy does with clients' requests: the section ``traffic``."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bluegreen.patterns import HOST_NAME, LONGEST_HOST_NAME
from bluegreen.settings.fields import HostName
from bluegreen.settings.networks import Network, Networks
from bluegreen.settings.section import Line, Section
from bluegreen.settings.tls import TlsSettings

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


class Affinity(StrEnum):
    """What keeps a client on one droplet of a color."""

    NONE = "none"
    COOKIE = "cookie"


class TrafficSettings(Section):
    """How HAProxy treats clients' requests."""

    preview_host: Annotated[HostName, Field(examples=["green.example.com"])]
    """Requests for this host are answered by the idle color, so that people can look at a release before it
    is live. Everybody else gets status 403. Access takes the preview key in the header X-Preview-Key (see
    `connections.preview`), an address in `preview_allow`, or a login on the proxy (ssh, then curl to
    127.0.0.1). The app sees the host and the scheme of `public_url`, if that is set.
    """
    preview_allow: Networks = []
    """Addresses and networks whose requests need no preview key, for example ["203.0.113.7",
    "2001:db8::/32"].
    """
    trusted_proxies: Annotated[Networks, AfterValidator(_not_everybody)] = []
    """Addresses and networks of a CDN, or of another proxy in front of these. The headers by which proxies
    speak to apps are kept if they come from there, and the client is the last address in X-Forwarded-For
    that is not in this list. A trusted proxy has to replace whatever its own clients send in such headers.
    HAProxy removes them from everybody else's requests, and sets X-Forwarded-For, X-Real-IP and
    X-Forwarded-Proto.
    """
    public_url: Annotated[Line, AfterValidator(_public_url)] | None = None
    """How clients ask the app: http:// or https://, its host name, and its port unless that is the usual one;
    for example https://www.example.com. Everything that asks the app, from HAProxy's check to the bake,
    then sends this host, and the X-Forwarded-Proto that HAProxy sends for clients. Needed by an app that
    answers to one host name only, or that redirects other hosts, or http. By default the app is asked by
    its server's address, over http.
    """
    tls: TlsSettings | None = None
    """Certificates for https. With them, HAProxy serves port 443 too, over HTTP/2 and HTTP/1.1, with TLS 1.2
    and 1.3 as in Mozilla's intermediate profile. See docs/tls.md.
    """
    affinity: Affinity = Affinity.NONE
    """`cookie`: HAProxy keeps a client on the droplet that answered it first, for apps that keep sessions in
    files or in memory. The cookie holds no address, is HttpOnly, SameSite=Lax, and Secure if `public_url`
    is https. If that droplet fails, another one takes over. A switch moves every client to a droplet of
    the other color, where such sessions are not; see docs/sessions.md.
    """
    timeout_client: Annotated[int, Field(ge=1, le=LONGEST_SILENCE)] = 50
    """Seconds that HAProxy waits for a client."""
    timeout_server: Annotated[int, Field(ge=1, le=LONGEST_SILENCE)] = 50
    """Seconds that HAProxy waits for a server's answer."""
    timeout_tunnel: Annotated[int, Field(ge=1, le=LONGEST_TUNNEL)] = 3600
    """Seconds that a WebSocket, or another upgraded connection, may be silent. Each keeps one of
    `server.workers` busy, except under Mojolicious and Twiggy.
    """

    @model_validator(mode="after")
    def _two_hosts(self) -> Self:
        """Refuse equal hosts: clients' requests would go to the idle color."""
        if self.public_url and urlsplit(self.public_url).hostname == self.preview_host:
            raise ValueError(
                f"preview_host and the host of public_url are both {self.preview_host}; "
                "allowed are two different ones"
            )
        return self

    @model_validator(mode="after")
    def _https_for_everybody(self) -> Self:
        """Where http is redirected, everything that asks the app has to ask as a client by https would."""
        if self.tls and self.tls.redirect and not self.https:
            raise ValueError(
                "tls.redirect sends clients to https, so public_url has to be an https:// URL; or set "
                "tls.redirect to false"
            )
        return self

    @property
    def timeouts(self) -> dict[str, int]:
        """Seconds by what HAProxy calls its timeouts."""
        return {
            "client": self.timeout_client,
            "server": self.timeout_server,
            "tunnel": self.timeout_tunnel,
        }

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
