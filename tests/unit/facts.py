"""What a dry run knows of a calm fleet, in which each test changes one thing."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import AppServer, Facts, Proxy, Reading, Source, Unit
from bluegreen.checks.release_facts import Load, UsedConfiguration
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.vpc import Vpc
from bluegreen.settings.app_file import load_app
from tests.unit.fleets import DIGEST, TOOLS, V1, V2, healthy, released
from tests.unit.statuses import status

NOW = 1_800_000_000.0
# The network of an app's own.
HOME = Vpc("home", "bluegreen-my-perl-app-nyc3", "nyc3")


def droplet(number: int, name: str, **changes: Any) -> Droplet:
    addresses = {"public": IPv4Address(f"198.18.0.{number}"), "private": IPv4Address(f"198.19.0.{number}")}
    about: dict[str, Any] = {"status": "active", "vpc": "home", "memory": 1024, "vcpus": 1, **addresses}
    return Droplet(id=number, name=name, **{**about, **changes})


MAIN = Source("main", V2)


FLEET = Fleet(proxies=(droplet(1, "lb-1"),), blue=(droplet(3, "blue-1"),), green=(droplet(4, "green-1"),))


MACHINE: dict[str, Any] = {
    "uid": 0,
    "clock": NOW,
    "disk_free_mb": 5000,
    "inodes_free": 100_000,
    "memory_mb": 2000,
    "memory_free_mb": 1000,
    "files": {},
    "unit": Unit(ActiveState="active", UnitFileState="enabled"),
}
R1 = released(V1)


def server(**changes: Any) -> Reading[AppServer]:
    said: dict[str, Any] = {
        "tools": TOOLS,
        "missing_users": (),
        "perl_key": "5.36.0 x86_64\n",
        "current": R1,
        "running": R1,
        "releases": (R1,),
        "activated": (healthy(R1),),
        "jobs": (),
        "configuration": UsedConfiguration(digest=DIGEST),
    }
    return Reading(AppServer(**{**MACHINE, **said, **changes}), NOW - 1, NOW + 1)


def facts(**changes: Any) -> Facts:
    proxy = Proxy(**MACHINE, config_error="", certificates={}, probes={})
    calm: dict[str, Any] = {
        "app": load_app("my_perl_app"),
        "account": Account(FLEET.droplets, HOME),
        "fleet": FLEET,
        "source": None,
        "statuses": {"lb-1": status()},
        "proxies": {"lb-1": Reading(proxy, NOW - 1, NOW + 1)},
        "servers": {"blue-1": server(), "green-1": server()},
        "config": None,
        "taken_at": NOW,
    }
    return Facts(**{**calm, **changes})


def with_green(one: Droplet) -> Fleet:
    return FLEET.model_copy(update={"green": (one,)})


def load(status: int | None = 0, cause: str = "", *, read_only: bool = False) -> Load:
    return Load(status=status, cause=cause, read_only=read_only)
