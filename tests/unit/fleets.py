"""Fleets that tests deploy to: droplets with their addresses, and what they say about themselves."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address
from typing import Any

from agent.release_name import release_name
from bluegreen.checks.facts import AppServer, Unit
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.host_keys import generate
from bluegreen.run.previous import HealthyPairing

KEY = generate().public
V1, V2 = "a" * 40, "b" * 40
TOOLS = dict.fromkeys(("/usr/bin/perl", "carton", "cpanm", "cc", "make"), "1.0")
# The digest of a configuration.
DIGEST = "c" * 64


def released(revision: str, digit: str = "1") -> str:
    """Return the name of a release of a revision; another digit makes it another artifact."""
    return release_name(revision, digit * 64)


def droplet(number: int, name: str) -> Droplet:
    return Droplet(
        id=number,
        name=name,
        status="active",
        public=IPv4Address(f"198.18.0.{number}"),
        private=IPv4Address(f"198.19.0.{number}"),
        host_key=KEY,
    )


FLEET = Fleet(
    proxies=(droplet(1, "lb-1"), droplet(2, "lb-2")),
    blue=(droplet(3, "blue-1"),),
    green=(droplet(4, "green-1"),),
)

LB, BLUE, GREEN = droplet(1, "lb-1"), droplet(2, "blue-1"), droplet(3, "green-1")
ONE_EACH = Fleet(proxies=(LB,), blue=(BLUE,), green=(GREEN,))


def healthy(release: str, configuration: str = DIGEST, **changes: Any) -> HealthyPairing:
    """What was healthy on a droplet, by default on green-1; another configuration is another pairing."""
    pairing = hashlib.sha256(f"{release} {configuration}".encode()).hexdigest()
    known = {"release": release, "configuration": configuration, "pairing": pairing}
    asked = {"address": "198.19.0.4", "port": 8080, "confirmed": False}
    return HealthyPairing.model_validate({**known, **asked, **changes})


def facts(revision: str | None = V1, **changes: Any) -> AppServer:
    current = released(revision) if revision else None
    return AppServer(
        **{
            "uid": 0,
            "clock": 1.0,
            "disk_free_mb": 5000,
            "inodes_free": 70_000,
            "memory_mb": 2000,
            "memory_free_mb": 1000,
            "files": {},
            "unit": Unit(ActiveState="active"),
            "tools": TOOLS,
            "missing_users": (),
            "perl_key": "",
            "current": current,
            "running": current,
            "releases": (),
            "activated": (),
            "jobs": (),
            **changes,
        }
    )
