"""Certificates with their private keys: what is in a PEM text, and when it has to be replaced."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from bluegreen.errors import BlueGreenError

if TYPE_CHECKING:
    from bluegreen.settings.tls import TlsSettings

# Where the agent puts the certificates that Airflow delivers.
DIRECTORY = "/etc/haproxy/certificates"
# A certificate is renewed when this is left of it, or a third of its life if that is less: 90 days become 30.
RENEWED_BEFORE, RENEWED_SHARE = timedelta(days=30), 3
# Parts of that time after which nobody can believe that the renewal succeeds by itself: 21 and 7 days of 30.
WARNED_SHARE, ALARMED_SHARE = 21 / 30, 7 / 30
# Bytes of a text. HAProxy takes a little less than 16 KB at once without a reload.
LARGEST_PEM = 64 << 10
_BLOCK = r"-----BEGIN ([A-Z0-9 ]+)-----\n.+?\n-----END \1-----"


@dataclass(frozen=True)
class KeyedCertificate:
    """A certificate, its chain and its private key.

    :param pem: all of it, as HAProxy reads it: the certificate, its issuers, the key; no empty lines.
    :param names: the host names that it is for.
    :param begins: when it becomes valid; ``ends`` likewise.
    :param fingerprint: SHA-256 of the certificate, in hexadecimal digits.
    """

    pem: str = field(repr=False)
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    fingerprint: str

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Read it from PEM blocks in any order.

        :param source: where the text is from, for the error.
        :raises BlueGreenError: if it is not one certificate with its key; nothing of the text is shown.
        """
        if len(text) > LARGEST_PEM:
            raise BlueGreenError(f"{source}: more than {LARGEST_PEM >> 10} KB are no certificate and key")
        lines = "\n".join(line.strip() for line in text.splitlines() if line.strip())
        blocks = [(found[1], found[0]) for found in re.finditer(_BLOCK, lines, re.DOTALL)]
        keys = [block for kind, block in blocks if kind.endswith("PRIVATE KEY")]
        chain = [block for kind, block in blocks if kind == "CERTIFICATE"]
        if len(keys) != 1 or not chain:
            raise BlueGreenError(
                f"{source}: found {len(chain)} certificates and {len(keys)} private keys in PEM; needed are "
                "a certificate, perhaps those of its issuers, and its one key"
            )
        leaf = _own(chain, keys[0], source)
        own = leaf.public_bytes(serialization.Encoding.PEM).decode().strip()
        issuers = [block for block in chain if x509.load_pem_x509_certificate(block.encode()) != leaf]
        return cls(
            pem="\n".join([own, *issuers, keys[0]]) + "\n",
            names=_names(leaf),
            begins=leaf.not_valid_before_utc,
            ends=leaf.not_valid_after_utc,
            fingerprint=leaf.fingerprint(hashes.SHA256()).hex(),
        )

    @property
    def renewed_from(self) -> datetime:
        """From when on it is to be replaced."""
        return self.ends - renewed_before(self.begins, self.ends)

    @property
    def late_from(self) -> datetime:
        """From when on its renewal has failed for so long that somebody has to look."""
        return self.ends - renewed_before(self.begins, self.ends) * WARNED_SHARE

    def why_unusable(self, now: datetime) -> str | None:
        """Return why clients would refuse it now, or ``None``."""
        if now < self.begins:
            return f"it is not valid before {self.begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}"
        if now > self.ends:
            return f"it expired on {self.ends:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M}"
        return None

    def is_for(self, host: str) -> bool:
        """Whether clients take it for a host: by its name, or by a wildcard for the first label."""
        return not {host, f"*.{host.partition('.')[2]}"}.isdisjoint(self.names)

    def covers(self, names: Iterable[str]) -> bool:
        """Whether it is for exactly these names."""
        return set(self.names) == {*names}


def renewed_before(begins: datetime, ends: datetime) -> timedelta:
    """Return how long before its end a certificate is replaced."""
    return min(RENEWED_BEFORE, (ends - begins) / RENEWED_SHARE)


def path_of(name: str) -> str:
    """Return where a proxy has a certificate that Airflow delivers."""
    return f"{DIRECTORY}/{name}.pem"


def served_paths(tls: TlsSettings | None) -> list[str]:
    """Return where the certificates of the settings are on a proxy: files, or directories of them."""
    return [one.path or path_of(one.name or "") for one in tls.certificates] if tls else []


def _own(chain: list[str], key: str, source: str) -> x509.Certificate:
    """Return the certificate that belongs to a key."""
    try:
        private = serialization.load_pem_private_key(key.encode(), password=None)
        public = _public_bytes(private.public_key())
        parsed = [x509.load_pem_x509_certificate(block.encode()) for block in chain]
    except TypeError:
        raise BlueGreenError(
            f"{source}: the private key is encrypted; needed is one without a password"
        ) from None
    except Exception as error:  # whatever a damaged text makes of the library
        raise BlueGreenError(f"{source}: the PEM cannot be read ({type(error).__name__})") from None
    for one in parsed:
        if _public_bytes(one.public_key()) == public:
            return one
    raise BlueGreenError(f"{source}: the private key belongs to none of its certificates")


def _public_bytes(key: object) -> bytes:
    encoded: bytes = key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    return tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
