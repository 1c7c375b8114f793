"""What a droplet is asked once it is known what is on all of them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.checks.dependencies import cache_key
from bluegreen.checks.facts import (
    AppServer,
    Reading,
    Source,
)
from bluegreen.checks.gather import second_round as follow_up
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from tests.unit.distributions import HALF_VENDORED, NOT_VENDORED, TRY_TINY, VENDORED
from tests.unit.facts import MAIN, NOW, V1, V2, facts, load, server


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
    ("source", "cache", "asked"),
    [
        (NOT_VENDORED, (), ["green-1"]),
        (HALF_VENDORED, (), ["green-1"]),
        (VENDORED, (), []),
        (NOT_VENDORED, (cache_key("5.36.0 x86_64\n", NOT_VENDORED),), []),
        (replace(NOT_VENDORED, cpanfile=None), (), []),
    ],
    ids=["not vendored", "not all vendored", "vendored", "installed already", "not needed"],
)
def test_cpan_is_asked_for_what_a_deploy_would_fetch(
    asking: list[tuple[str, dict[str, Any]]], source: Source, cache: tuple[str, ...], asked: list[str]
) -> None:
    follow_up.follow_up(
        facts(source=source, servers={"blue-1": server(cache=cache), "green-1": server(cache=cache)})
    )
    assert [name for name, _ in asking] == asked
    assert all(request["distributions"] == [TRY_TINY] for _, request in asking)


@pytest.mark.parametrize(
    ("servers", "asked"),
    [
        ({"blue-1": server(releases=(V2,)), "green-1": server()}, ["blue-1"]),
        ({"blue-1": server(releases=(V2,)), "green-1": server(load=load())}, []),
        ({"blue-1": server(releases=(V2,), memory_free_mb=200), "green-1": server()}, []),
        ({"blue-1": server(releases=(V1,)), "green-1": server()}, []),
    ],
    ids=["live only", "idle as well", "no room", "nowhere"],
)
def test_a_revision_is_loaded_on_a_live_droplet_only_if_no_idle_one_has_it_and_there_is_room(
    asking: list[tuple[str, dict[str, Any]]], servers: dict[str, Reading[AppServer]], asked: list[str]
) -> None:
    found = follow_up.follow_up(facts(source=MAIN, servers=servers))
    assert [name for name, _ in asking] == asked
    told = [server.load.cause for _, server in found.read_servers() if server.load and server.load.cause]
    assert told == [f"{name} was asked" for name in asked]
