"""What a dry run says of backing services."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bluegreen.checks import services
from bluegreen.checks.facts import Facts
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import ReachedServices
from bluegreen.settings.services import Service
from tests.unit.facts import MAIN, facts, load, server

SERVICES = {"database": Service(address="10.0.0.5:5432"), "cache": Service(address_from="REDIS_URL")}


def facts_with(source: Any = MAIN, **found: ReachedServices | None) -> Facts:
    servers = {
        name.replace("_", "-"): server(services=reached, load=load()) for name, reached in found.items()
    }
    known = facts(source=source, servers=servers)
    return replace(known, app=known.app.model_copy(update={"services": SERVICES}))


def reached(**causes: str) -> ReachedServices:
    return ReachedServices(causes=causes)


@pytest.mark.parametrize(("droplet", "severity"), [("green_1", "error"), ("blue_1", "warning")])
def test_a_service_that_an_idle_droplet_does_not_reach_is_an_error_and_drift_on_a_live_one(
    droplet: str, severity: str
) -> None:
    [found] = services.reachable(facts_with(**{droplet: reached(database="connection refused", cache="")}))
    assert (found.severity, found.subject) == (severity, droplet.replace("_", "-"))
    assert found.what == "it cannot reach the service database (10.0.0.5:5432): connection refused"


def test_services_that_are_reached_are_no_findings() -> None:
    known = facts_with(green_1=reached(database="", cache=""), blue_1=reached(database="", cache=""))
    assert [*services.reachable(known)] == []
    assert not_checked(known) == []


def test_what_was_not_tried_is_listed_and_not_guessed() -> None:
    known = facts_with(green_1=reached(database=""), blue_1=reached(database=""))
    why = "it has not what a deploy would run there, or had no time"
    assert not_checked(known) == [f"whether the services cache can be reached from green-1: {why}"]
    gone = facts_with(green_1=ReachedServices.not_done("green-1 cannot be reached"))
    assert not_checked(gone) == [
        "whether the services database, cache can be reached from green-1: green-1 cannot be reached"
    ]


def test_a_status_lists_nothing_that_a_deploy_would_try() -> None:
    assert [*services.unknown(facts_with(None, green_1=reached()))] == []
    assert [*services.unknown(facts(source=MAIN))] == []
