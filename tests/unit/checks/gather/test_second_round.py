"""What a droplet is asked once it is known what is on all of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.checks.facts import (
    AppServer,
    Reading,
    Source,
)
from bluegreen.checks.gather import second_round as follow_up
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.migrations import MigrationSettings
from bluegreen.settings.services import Service
from tests.unit.distributions import HALF_VENDORED, IN_CPAN, NOT_VENDORED, VENDORED
from tests.unit.facts import FLEET, MAIN, NOW, R1, facts, server
from tests.unit.fleets import DIGEST, GREEN, V2, droplet, healthy, released


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of which droplet; each is said to fail."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(droplet: Droplet, request: dict[str, Any], _: object) -> Reading[Any]:
        asked.append((droplet.name, request))
        return Reading(BlueGreenError(f"{droplet.name} was asked"), NOW, NOW)

    monkeypatch.setattr(follow_up, "DropletHook", SimpleNamespace(of=lambda droplet, _: droplet))
    monkeypatch.setattr(follow_up, "ask", ask)
    return asked


@pytest.mark.parametrize(
    ("source", "changes", "asked"),
    [
        (NOT_VENDORED, {}, ["green-1"]),
        (HALF_VENDORED, {}, []),
        (VENDORED, {}, []),
        (NOT_VENDORED, {"is_built": True}, []),
        (NOT_VENDORED, {"statuses": {}}, []),
    ],
    ids=["not vendored", "not all vendored", "vendored", "built already", "nobody knows who is idle"],
)
def test_the_builder_asks_cpan_for_what_a_build_would_fetch(
    asking: list[tuple[str, dict[str, Any]]], source: Source, changes: dict[str, Any], asked: list[str]
) -> None:
    follow_up.follow_up(facts(source=source, **changes))
    assert [name for name, _ in asking] == asked
    assert all(request["paths"] == [IN_CPAN] for _, request in asking)


def test_the_builder_is_given_what_the_mirror_asks_for(
    asking: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    login = {"login": "me", "password": "s3cret"}
    monkeypatch.setattr(follow_up, "cpan_credentials", lambda _: login)
    follow_up.follow_up(facts(source=NOT_VENDORED))
    assert [request["credentials"] for _, request in asking] == [login]
    asking.clear()

    def missing(_: object) -> None:
        raise BlueGreenError("there is no Airflow connection 'our_cpan'")

    monkeypatch.setattr(follow_up, "cpan_credentials", missing)
    found = follow_up.follow_up(facts(source=NOT_VENDORED))
    [server] = [one for droplet, one in found.read_servers() if droplet.name == "green-1"]
    assert asking == []
    assert server.mirror is not None
    assert server.mirror.error == "there is no Airflow connection 'our_cpan'"


R2 = released(V2)
HAS_IT = {"releases": (R1, R2)}


@pytest.mark.parametrize(
    ("servers", "asked"),
    [
        ({"blue-1": server(**HAS_IT), "green-1": server()}, ["blue-1"]),
        ({"blue-1": server(**HAS_IT), "green-1": server(**HAS_IT)}, ["green-1"]),
        ({"blue-1": server(**HAS_IT, memory_free_mb=200), "green-1": server()}, []),
        ({"blue-1": server(), "green-1": server()}, []),
        ({"blue-1": server(), "green-1": server(**HAS_IT, configuration=None)}, []),
        ({"green-1": server(**HAS_IT, configuration=None, activated=(healthy(R2),))}, ["green-1"]),
    ],
    ids=["live only", "idle as well", "no room", "nowhere", "no configuration", "its own configuration"],
)
def test_a_revision_is_loaded_on_a_live_droplet_only_if_no_idle_one_has_it_and_there_is_room(
    asking: list[tuple[str, dict[str, Any]]], servers: dict[str, Reading[AppServer]], asked: list[str]
) -> None:
    found = follow_up.follow_up(facts(source=MAIN, servers=servers))
    assert [name for name, _ in asking] == asked
    told = [server.load.cause for _, server in found.read_servers() if server.load and server.load.cause]
    assert told == [f"{name} was asked" for name in asked]


def test_a_release_is_loaded_as_a_deploy_loads_it_with_the_configuration_in_use(
    asking: list[tuple[str, dict[str, Any]]],
) -> None:
    follow_up.follow_up(facts(source=MAIN, servers={"green-1": server(**HAS_IT)}))
    [(_, request)] = asking
    assert (request["kind"], request["release"]) == ("load", R2)
    configuration = f"/var/lib/bluegreen/app-my_perl_app/configurations/{DIGEST}/environment"
    assert f"EnvironmentFile={configuration}" in request["properties"]
    assert any(one.startswith("WorkingDirectory=") and R2 in one for one in request["properties"])


@pytest.mark.parametrize(("delivered", "used"), [("e" * 64, "e" * 64), ("f" * 64, DIGEST)])
def test_a_release_is_loaded_with_what_a_deploy_would_deliver_if_that_is_there(
    asking: list[tuple[str, dict[str, Any]]], delivered: str, used: str
) -> None:
    there = server(**HAS_IT, activated=(healthy(R1, "e" * 64),))
    follow_up.follow_up(facts(source=MAIN, configuration=delivered, servers={"green-1": there}))
    [(_, request)] = asking
    assert any(one.endswith(f"configurations/{used}/environment") for one in request["properties"])


def test_one_droplet_that_has_the_revision_says_which_of_its_migrations_are_pending(
    asking: list[tuple[str, dict[str, Any]]],
) -> None:
    names = ("green-1", "green-2", "blue-1")
    two = FLEET.model_copy(update={"green": (GREEN, droplet(4, "green-2"))})
    known = facts(source=MAIN, fleet=two, servers={name: server(**HAS_IT) for name in names})
    asks = MigrationSettings(status=["sqitch", "status"])
    found = follow_up.follow_up(replace(known, app=known.app.model_copy(update={"migrations": asks})))
    [(name, request)] = [one for one in asking if one[1]["kind"] == "migrations"]
    assert (name, request["release"]) == ("green-1", R2)
    assert request["command"] == ["/usr/bin/env", "sqitch", "status"]
    [told] = [server.migrations for _, server in found.read_servers() if server.migrations]
    assert (told.status, told.pending) == (None, "green-1 was asked")


SERVICES = {
    "database": Service(address="10.0.0.5:5432"),
    "cache": Service(address_from="REDIS_URL"),
    "mail": Service(command=["bin/ping-mail"]),
}


@pytest.mark.parametrize(
    ("source", "changes", "configuration", "tried"),
    [
        (MAIN, {}, DIGEST, {"blue-1": 3, "green-1": 1}),
        (MAIN, HAS_IT, DIGEST, {"blue-1": 3, "green-1": 3}),
        (MAIN, HAS_IT, "e" * 64, {"blue-1": 1, "green-1": 1}),
        (MAIN, {"current": None, "configuration": None}, DIGEST, {"blue-1": 1, "green-1": 1}),
        (None, {}, None, {"blue-1": 3, "green-1": 3}),
    ],
    ids=["revision nowhere", "revision there", "other environment", "nothing there", "status"],
)
def test_services_are_tried_from_every_droplet_by_the_checks_that_it_has_all_for(
    asking: list[tuple[str, dict[str, Any]]],
    source: Source | None,
    changes: dict[str, Any],
    configuration: str | None,
    tried: dict[str, int],
) -> None:
    servers = {name: server(**changes) for name in ("blue-1", "green-1")}
    known = facts(source=source, servers=servers, configuration=configuration)
    found = follow_up.follow_up(replace(known, app=known.app.model_copy(update={"services": SERVICES})))
    asked = {name: request for name, request in asking if request["kind"] == "services"}
    assert {name: len(request["services"]) for name, request in asked.items()} == tried
    for request in asked.values():
        has_environment = any(one.startswith("EnvironmentFile=") for one in request["properties"])
        assert has_environment is (len(request["services"]) == 3)
        assert "IPAddressDeny=link-local" in request["properties"]
    told = {one.name: answer.services for one, answer in found.read_servers() if answer.services}
    assert {name: one.problem for name, one in told.items()} == {name: f"{name} was asked" for name in asked}


def test_an_app_without_services_is_asked_nothing_more(asking: list[tuple[str, dict[str, Any]]]) -> None:
    follow_up.follow_up(facts(source=None))
    assert asking == []
