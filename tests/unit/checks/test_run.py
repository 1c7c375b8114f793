"""All checks together."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

from bluegreen import checks
from bluegreen.checks.facts import (
    Facts,
)
from bluegreen.checks.finding import Finding, warning
from bluegreen.checks.run import BLOCKING, CHECKS, findings_in
from bluegreen.errors import BlueGreenError
from tests.unit.facts import facts, server


def test_every_check_is_run_and_those_that_stop_a_deploy_are_among_them() -> None:
    names = [one.name for one in pkgutil.iter_modules(checks.__path__)]
    modules = [import_module(f"{checks.__name__}.{name}") for name in names]
    written = {
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_")
        and inspect.get_annotations(function) == {"facts": "Facts", "return": "Iterator[Finding]"}
    }
    assert written == set(CHECKS)
    assert set(BLOCKING) <= written


def test_an_unreadable_proxy_does_not_hide_what_is_wrong_with_a_droplet() -> None:
    found = findings_in(
        facts(
            statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
            servers={"green-1": server(disk_free_mb=3)},
        )
    )
    told = " ".join(one.what for one in found)
    assert "lb-1 cannot be reached" in told
    assert "only 3 MB of disk are free" in told


def test_a_broken_check_is_a_finding_and_hides_no_other() -> None:
    def broken(_: Facts) -> Iterator[Finding]:
        yield warning("before", "found", "do")
        raise KeyError("secret")

    def sound(_: Facts) -> Iterator[Finding]:
        yield warning("after", "found", "do")

    found = findings_in(facts(), [broken, sound])
    assert [one.subject for one in found] == ["check broken", "before", "after"]
    assert "secret" not in str(found)
