"""The files that are written to a machine's disk before its first boot."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

GUEST = Path(__file__).parent / "guest"
UNITS = {
    "sandbox-network.service": "sysinit.target",
    "cloud-init.service": "multi-user.target",
    "cloud-final.service": "multi-user.target",
}


@dataclass(frozen=True)
class Seed:
    """The identity of a machine, as the API request describes it.

    :param hostname: the droplet's name.
    :param public_address: its public address, in a /24.
    :param private_address: its private address, in a /24.
    :param gateway: the next hop of its default route.
    :param public_keys: OpenSSH lines for root's ``authorized_keys``.
    :param user_data: the API request's, in cloud-init's format.
    :param files: what makes it use the sandbox's servers: texts by path.
    """

    hostname: str
    public_address: str
    private_address: str
    gateway: str
    public_keys: list[str] = field(default_factory=list)
    user_data: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def plant(root: Path, seed: Seed) -> None:
    """Write a seed into the file system that is mounted at ``root``."""
    for path, text in _files(seed).items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "var/lib/cloud/seed/sandbox/user-data").chmod(0o600)
    program = root / "usr/bin/cloud-init"
    shutil.copyfile(GUEST / "cloud_init.py", program)
    program.chmod(0o755)
    for unit, target in UNITS.items():
        shutil.copyfile(GUEST / unit, root / "etc/systemd/system" / unit)
        wants = root / "etc/systemd/system" / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")


def _files(seed: Seed) -> dict[str, str]:
    network = [
        f"address add {seed.public_address}/24 dev host0",
        f"address add {seed.private_address}/24 dev host0",
        "link set host0 up",
        f"route add default via {seed.gateway}",
    ]
    short = seed.hostname.partition(".")[0]
    return {
        "etc/hostname": f"{seed.hostname}\n",
        "etc/hosts": f"127.0.0.1 localhost\n127.0.1.1 {seed.hostname} {short}\n",
        "etc/machine-id": f"{uuid.uuid4().hex}\n",
        "etc/sandbox-network": "\n".join(network) + "\n",
        "etc/ssh/sshd_config.d/50-cloud-init.conf": "PasswordAuthentication no\nUseDNS no\n",
        "var/lib/cloud/seed/sandbox/meta-data.json": json.dumps({"public_keys": seed.public_keys}) + "\n",
        "var/lib/cloud/seed/sandbox/user-data": seed.user_data,
        **seed.files,
    }


def trusted(authority: str, image: Path) -> dict[str, str]:
    """Return the files that make a machine trust a certificate authority, as ``update-ca-certificates`` does.

    :param authority: its certificate, in PEM.
    :param image: the root directory of the machine's image.
    """
    bundle = "etc/ssl/certs/ca-certificates.crt"
    return {
        "usr/local/share/ca-certificates/sandbox.crt": authority,
        bundle: (image / bundle).read_text() + authority,
    }
