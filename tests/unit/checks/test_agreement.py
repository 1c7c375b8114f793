"""A dry run says no exactly where a deploy does: both are given the same faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import AppServer, Reading, Unit
from bluegreen.checks.finding import Finding
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.checks.run import findings_in
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from tests.unit import facts as calm
from tests.unit.fleets import DIGEST, FLEET, TOOLS, V1, V2, released
from tests.unit.provision import Check
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

APP_TAG, ROLES = "app:my_perl_app", {"lb": "role:loadbalancer", "blue": "env:blue", "green": "env:green"}


def tagged(fleet: Fleet) -> Fleet:
    """Return the fleet with the tags by which DigitalOcean would show its roles."""

    def members(droplets: tuple[Droplet, ...], role: str) -> tuple[Droplet, ...]:
        tags = frozenset({APP_TAG, ROLES[role]})
        return tuple(one.model_copy(update={"tags": tags}) for one in droplets)

    return Fleet(
        proxies=members(fleet.proxies, "lb"),
        blue=members(fleet.blue, "blue"),
        green=members(fleet.green, "green"),
    )


@dataclass
class World:
    """What the API, the proxies and the droplets say; blue is live, unless a test changes that."""

    fleet: Fleet = field(default_factory=lambda: tagged(FLEET))
    statuses: dict[str, Any] = field(default_factory=lambda: {"lb-1": status(), "lb-2": status()})
    servers: dict[str, Any] = field(default_factory=lambda: {name: {} for name in ("blue-1", "green-1")})

    def change(self, color: Color, **about: Any) -> None:
        [droplet] = self.fleet.color(color)
        self.fleet = self.fleet.model_copy(update={color.value: (droplet.model_copy(update=about),)})

    def refusal(self, monkeypatch: pytest.MonkeyPatch) -> str:
        """Return why a deploy does not begin; empty if it does."""
        check = Check(monkeypatch, revision=V2)
        check.fleet, check.statuses = self.fleet, self.statuses
        for droplet in self.fleet.blue + self.fleet.green:
            check.facts[droplet.name] = self._said(droplet)
        try:
            check.run()
        except AirflowException as refused:
            return str(refused)
        return ""

    def _said(self, droplet: Droplet) -> AppServer | BlueGreenError:
        if droplet.off or droplet.public is None:
            return BlueGreenError(droplet.off or f"{droplet.name} has no public address")
        changes = self.servers.get(droplet.name, {})
        if isinstance(changes, BlueGreenError):
            return changes
        answer = calm.server(**changes).answer
        assert isinstance(answer, AppServer)
        return answer

    def errors(self) -> list[Finding]:
        """Return because of what a dry run fails."""
        asked = [one for one in self.fleet.blue + self.fleet.green if one.status == "active" and one.public]
        about = calm.facts(
            fleet=self.fleet,
            account=Account(self.fleet.droplets, calm.HOME),
            statuses=self.statuses,
            servers={one.name: Reading[Any](self._said(one), 1.0, 2.0) for one in asked},
        )
        return [one for one in findings_in(about) if one.severity == "error"]


Fault = Callable[[World, Color], None]


def says(**changes: Any) -> Fault:
    return lambda world, color: world.servers.update({f"{color}-1": changes})


def is_shown(**about: Any) -> Fault:
    return lambda world, color: world.change(color, **about)


def cannot_be_read(world: World, color: Color) -> None:
    world.servers[f"{color}-1"] = BlueGreenError(f"{color}-1 cannot be reached by SSH")


def has_moved(world: World, color: Color) -> None:
    is_shown(private=world.fleet.proxies[0].private)(world, color)


def has_a_twin(world: World, color: Color) -> None:
    [droplet] = world.fleet.color(color)
    twin = droplet.model_copy(update={"id": 77})
    world.fleet = world.fleet.model_copy(update={color.value: (droplet, twin)})


def is_gone(world: World, color: Color) -> None:
    world.fleet = world.fleet.model_copy(update={color.value: ()})


def without(*programs: str) -> dict[str, str]:
    return {name: version for name, version in TOOLS.items() if name not in programs}


ON_A_DROPLET: dict[str, Fault] = {
    "nothing": says(),
    "off": is_shown(status="off"),
    "being made": is_shown(status="new", public=None, private=None),
    "no public address": is_shown(public=None),
    "no private address": is_shown(private=None),
    "another address": has_moved,
    "unreachable": cannot_be_read,
    "no carton": says(tools=without("carton")),
    "no perl": says(tools=without("/usr/bin/perl")),
    "no compiler": says(tools=without("cc", "make")),
    "no package": says(missing_packages=("libpq5",)),
    "unknown package": says(missing_packages=("nonesuch",), unknown_packages=("nonesuch",)),
    "another artifact": says(current=released(V1, "2")),
    "no configuration": says(configuration=None),
    "changed configuration": says(configuration=UsedConfiguration(digest=DIGEST, problem="it is not there")),
    "no user": says(missing_users=("app-my_perl_app",)),
    "full disk": says(disk_free_mb=3),
    "no more files": says(inodes_free=3),
    "no memory": says(memory_free_mb=3),
    "stopped": says(unit=Unit(ActiveState="failed", UnitFileState="enabled")),
    "another release": says(current=released("c" * 40)),
    "no release": says(current=None, unit=Unit(ActiveState="inactive")),
    "twin": has_a_twin,
    "gone": is_gone,
}


@pytest.mark.parametrize("color", list(Color))
@pytest.mark.parametrize("live", [Color.BLUE, None], ids=["live", "first"])
@pytest.mark.parametrize("fault", ON_A_DROPLET)
def test_what_is_wrong_with_a_droplet(
    monkeypatch: pytest.MonkeyPatch, fault: str, live: Color | None, color: Color
) -> None:
    world = World()
    if live is None:
        world.statuses = dict.fromkeys(world.statuses, status(None, idle="blue", confirmed=None))
    ON_A_DROPLET[fault](world, color)
    refused, errors = world.refusal(monkeypatch), world.errors()
    assert bool(refused) == bool(errors), (refused, [str(one) for one in errors])


@pytest.mark.parametrize(
    "changes",
    [
        {"haproxy": {"version": "0.0", "running": False, "config_sha256": None, "workers": 0}},
        {"haproxy": {"version": "unknown", "running": True, "config_sha256": None, "workers": 1}},
        {"haproxy": {"version": "2", "running": True, "config_sha256": None, "workers": 1}},
        {"map_running": {"live": "blue", "idle": "green", "idle_share": 10}},
        {"map_running": {"live": "blue", "idle": "green", "idle_share": 0}},
        {"live": "green"},
        {"live": None, "map_running": None, "map_file": None},
        {"consistent": False},
        {"confirmed": None},
    ],
    ids=str,
)
def test_what_is_wrong_with_a_proxy(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    world = World()
    world.statuses["lb-2"] = status(**{"live": "blue", **changes})
    refused, errors = world.refusal(monkeypatch), world.errors()
    assert bool(refused) == bool(errors), (refused, [str(one) for one in errors])


def test_a_proxy_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.statuses["lb-2"] = BlueGreenError("lb-2 cannot be reached")
    assert "lb-2 cannot be reached" in world.refusal(monkeypatch)
    assert "lb-2 cannot be reached" in str([str(one) for one in world.errors()])


def test_nothing_is_wrong_before_a_test_changes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    assert World().refusal(monkeypatch) == ""
    assert World().errors() == []
