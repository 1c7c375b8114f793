"""SSH host keys that are known before a droplet exists.

Provisioning generates the key pair, passes the private half to cloud-init and records the public half as a
tag of the droplet. DigitalOcean's API, which answers over TLS, thereby vouches for the key. No first
connection has to be trusted, no file has to be shared among workers, and a droplet that is adopted after an
interrupted run still has its key recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

TAG_PREFIX = "hostkey:ed25519:"


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
    public = key.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return HostKeyPair(
        private=key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode(),
        public=_public_line(public),
        tag=TAG_PREFIX + raw.hex(),
    )


def public_key_from_tags(tags: Iterable[str]) -> str | None:
    """Return the recorded key as ``ssh-ed25519 …``, or ``None`` unless exactly one valid one is recorded."""
    lowered = [tag.lower() for tag in tags]
    recorded = [tag.removeprefix(TAG_PREFIX) for tag in lowered if tag.startswith(TAG_PREFIX)]
    if len(recorded) != 1:
        return None
    try:
        return _public_line(Ed25519PublicKey.from_public_bytes(bytes.fromhex(recorded[0])))
    except ValueError:
        return None


def _public_line(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
