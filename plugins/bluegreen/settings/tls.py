"""Which certificates HAProxy serves, and where they come from: the section ``traffic.tls``."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from bluegreen.settings.fields import AbsolutePath, CertifiedName, ConnectionId
from bluegreen.settings.section import Line, Section

# HAProxy reads at most 64 words of a line, and a certificate is two of them.
MOST_CERTIFICATES = 20
# Let's Encrypt refuses more (https://letsencrypt.org/docs/rate-limits/).
MOST_NAMES = 100
# When certificates are looked at: once a day, not at the full hour, when certificate authorities are busiest.
SCHEDULE = "17 4 * * *"
LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# Seconds: two years, what https://hstspreload.org asks for at most.
LONGEST_HSTS = 63_072_000


def _directory(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.username or not url.isascii() or " " in url:
        raise ValueError(
            f"allowed is the https:// URL of a certificate authority's directory: {LETS_ENCRYPT}"
        )
    return url


def _email(address: str) -> str:
    if not re.fullmatch(r"[^@\s,:]{1,64}@[A-Za-z0-9.-]{1,253}", address):
        raise ValueError("allowed is one e-mail address, for example ops@example.com")
    return address


class ChallengeKind(StrEnum):
    """How the certificate authority sees that somebody rules a name."""

    HTTP = "http-01"
    DNS = "dns-01"


class AcmeSettings(Section):
    """The certificate authority, which has to speak ACME."""

    email: Annotated[Line, AfterValidator(_email), Field(examples=["ops@example.com"])]
    """Where the authority reaches whoever is responsible."""
    directory: Annotated[Line, AfterValidator(_directory)] = LETS_ENCRYPT
    """The URL of its directory. Another one means new certificates."""
    ca_file: AbsolutePath | None = None
    """A file on Airflow's machines with the certificate by which a private authority is trusted."""
    challenge: ChallengeKind = ChallengeKind.HTTP
    """How the authority is shown that the names are yours: `http-01`, by HAProxy on port 80, or `dns-01`, by
    TXT records that Airflow makes in DigitalOcean's DNS, which has to have the domains. Only `dns-01` gets
    certificates for wildcard names.
    """


class CertificateSettings(Section):
    """One certificate, from one of three sources."""

    acme: Annotated[list[CertifiedName], Field(min_length=1, max_length=MOST_NAMES)] | None = None
    """The names that the certificate authority is to certify. They have to lead to the proxies. A name such
    as *.example.com needs `challenge: dns-01`.
    """
    connection: ConnectionId | None = None
    """An Airflow connection whose extra has `certificate` (with its chain) and `private_key`, both in PEM."""
    path: AbsolutePath | None = None
    """A PEM file (certificate, chain and key) on each proxy, or a directory of them, which somebody else
    looks after.
    """

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if len(self.model_fields_set) != 1 or None in (getattr(self, key) for key in self.model_fields_set):
            raise ValueError("a certificate has one source; allowed is one of acme, connection and path")
        return self

    @property
    def name(self) -> str | None:
        """What a certificate that Airflow delivers is called; ``None`` for one that somebody else does."""
        # A star in a file's name means something to shells; no host name has an underscore.
        return self.acme[0].replace("*", "_any") if self.acme else self.connection


class TlsSettings(Section):
    """How HAProxy speaks TLS with clients."""

    certificates: Annotated[
        list[CertificateSettings],
        Field(
            min_length=1,
            max_length=MOST_CERTIFICATES,
            examples=[[{"acme": ["www.example.com", "example.com"]}]],
        ),
    ]
    """Each has one of `acme`, `connection` and `path`. HAProxy takes the one for the name that a client asks
    for (SNI), or else the first.
    """
    acme: AcmeSettings | None = None
    """The certificate authority, which is asked by the DAG bluegreen_certificates__<app>."""
    redirect: bool = True
    """Whether clients who come by http are sent to https, by status 308. Needs `public_url` to be https."""
    hsts: Annotated[int, Field(ge=0, le=LONGEST_HSTS)] = 0
    """Seconds for which browsers are to come by https only (the header Strict-Transport-Security); 0 for no
    such header. Browsers keep to it whatever happens meanwhile, so begin with a small number.
    """

    @model_validator(mode="after")
    def _certificate_authority(self) -> Self:
        if bool(self.ordered) != (self.acme is not None):
            raise ValueError(
                "tls.acme names the certificate authority and an e-mail address; it is needed if one of "
                "tls.certificates has acme, and only then"
            )
        return self

    @model_validator(mode="after")
    def _wildcards(self) -> Self:
        names = [name for one in self.ordered for name in one.acme or () if name.startswith("*")]
        if names and self.acme and self.acme.challenge is not ChallengeKind.DNS:
            raise ValueError(f"tls.certificates: {names[0]} needs tls.acme.challenge to be dns-01")
        return self

    @model_validator(mode="after")
    def _once(self) -> Self:
        """Two certificates for one name would make it chance which of them a client gets."""
        names = [one.name for one in self.certificates if one.connection]
        names += [name for one in self.ordered for name in {*(one.acme or ()), one.name}]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"tls.certificates: {name} is there twice")
        return self

    @property
    def ordered(self) -> list[CertificateSettings]:
        """The certificates that come by ACME."""
        return [one for one in self.certificates if one.acme]

    @property
    def is_delivered(self) -> bool:
        """Whether Airflow delivers any of the certificates."""
        return any(one.name for one in self.certificates)
