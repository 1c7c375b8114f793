"""SSH host keys that are known before a droplet exists.

Provisioning generates the key pair, passes the private half to cloud-init and records the public half as a
tag of the droplet. DigitalOcean's API, which answers over TLS, thereby vouches for the key. No first
connection has to be trusted, no file has to be shared among workers, and a droplet that is adopted after an
interrupted run still has its key recorded.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

TAG_PREFIX = "hostkey:ed25519:"

# RFC 8709: the public key blob is the length-prefixed name followed by the length-prefixed 32 bytes.
_BLOB_PREFIX = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"


@dataclass(frozen=True)
class HostKeyPair:
    """A droplet's SSH host key.

    :param private: OpenSSH private key; secret, kept nowhere but on the droplet.
    :param public: ``ssh-ed25519 …``.
    :param tag: the public half as a DigitalOcean tag.
    """

    private: str
    public: str
    tag: str

    def __repr__(self) -> str:
        return f"HostKeyPair({self.public})"


def generate() -> HostKeyPair:
    """Generate a key pair."""
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return HostKeyPair(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        public=_public_line(raw),
        tag=TAG_PREFIX + raw.hex(),
    )


def public_key_from_tags(tags: Iterable[str]) -> str | None:
    """Return the recorded key as ``ssh-ed25519 …``, or ``None`` unless exactly one valid one is recorded."""
    lowered = [tag.lower() for tag in tags]
    recorded = [tag.removeprefix(TAG_PREFIX) for tag in lowered if tag.startswith(TAG_PREFIX)]
    if len(recorded) != 1:
        return None
    try:
        raw = bytes.fromhex(recorded[0])
    except ValueError:
        return None
    return _public_line(raw) if len(raw) == 32 else None


def _public_line(raw: bytes) -> str:
    return "ssh-ed25519 " + base64.b64encode(_BLOB_PREFIX + raw).decode()
