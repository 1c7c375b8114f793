"""That the app answers, and that traffic could go back."""

from __future__ import annotations

import re

import pytest

from bluegreen.checks import health
from bluegreen.checks.facts import (
    HealthAnswer,
    Proxy,
    Reading,
    Unit,
)
from tests.unit.facts import MACHINE, NOW, facts, server
from tests.unit.fleets import V1
from tests.unit.statuses import status


def test_before_the_second_deploy_a_rollback_is_reported_as_impossible() -> None:
    empty = server(current=None, unit=Unit(ActiveState="inactive"))
    found = health.serving(facts(servers={"blue-1": server(), "green-1": empty}))
    assert [one.subject for one in found] == ["green"]


@pytest.mark.parametrize(
    ("answer", "up", "found"), [(404, True, 1), (200, True, 0), (404, False, 0), (None, True, 0)]
)
def test_a_health_path_unknown_to_the_live_release_is_an_error(
    answer: int | None, up: bool, found: int
) -> None:
    known = {"name": "blue-1", "address": "10.0.0.1", "port": 8080, "up": up, "check": "L7OK"}
    probes = {"blue-1": HealthAnswer(status=answer, revision=V1, error=None)}
    proxy = Proxy(**MACHINE, config_error="", certificates={}, probes=probes)
    seen = facts(
        statuses={"lb-1": status(servers={"blue": [known], "green": []})},
        proxies={"lb-1": Reading(proxy, NOW - 1, NOW + 1)},
    )
    errors = list(health.health_path(seen))
    assert [(one.severity, one.subject) for one in errors] == [("error", "blue-1")] * found
    asked = "setting health.path; asked with the server's address as Host, by http"
    assert all(f"answers /health ({asked}) with status 404" in one.what for one in errors)


@pytest.mark.parametrize(
    ("pages", "what"),
    [
        ({"/": 200}, None),
        ({"/": 301, "/a": None}, "/ with status 301, /a with nothing .* proves nothing$"),
        ({"/": 301, "/a": 200}, "/ with status 301 .* proves nothing by that$"),
    ],
)
def test_bad_answers_of_the_live_release_to_validation_paths_are_a_warning(
    pages: dict[str, int | None], what: str | None
) -> None:
    proxy = Proxy(**MACHINE, config_error="", certificates={}, probes={}, pages=pages)
    found = list(health.pages(facts(proxies={"lb-1": Reading(proxy, NOW - 1, NOW + 1)})))
    assert [one.severity for one in found] == (["warning"] if what else [])
    assert all(re.search(f"answers lb-1 {what}", one.what) for one in found)


def test_a_rollback_that_would_be_refused_is_a_warning() -> None:
    [found] = health.way_back(facts(no_way_back="aaa was last live before the contract (run c)"))
    assert (found.subject, found.severity) == ("green", "warning")
    assert found.what == "a rollback to it is refused: aaa was last live before the contract (run c)"
    assert list(health.way_back(facts())) == []
