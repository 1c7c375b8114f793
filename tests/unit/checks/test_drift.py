"""What was changed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bluegreen.checks import drift
from bluegreen.checks.facts import Facts, Proxy, Reading, Unit
from bluegreen.checks.finding import Finding
from bluegreen.checks.gather.expected import CONFIG_PATH, DROP_IN_PATH, expected_unit
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.release_facts import ChangedFile, Comparison, UsedConfiguration
from bluegreen.checks.run import Check
from bluegreen.settings.app_file import load_app
from tests.unit.facts import FLEET, MACHINE, NOW, R1, droplet, facts, server
from tests.unit.fleets import DIGEST, V1, V2, healthy, released

UNIT = "/etc/systemd/system/app-my_perl_app.service"
OTHER = "d" * 64


def warnings(check: Check, known: Facts) -> list[str]:
    found: list[Finding] = list(check(known))
    assert all(one.severity == "warning" for one in found)
    return [f"{one.subject}: {one.what}" for one in found]


def on_green(**changes: Any) -> Facts:
    return facts(servers={"green-1": server(**changes)})


def unit(release: str = R1, configuration: str = DIGEST) -> dict[str, str]:
    """Return the unit's file as a deploy to green-1 would write it."""
    [green] = FLEET.green
    return {UNIT: expected_unit(load_app("my_perl_app"), green, release, configuration)}


def test_only_the_drop_in_local_conf_is_no_drift() -> None:
    def found(*drop_ins: str) -> list[str]:
        state = Unit(ActiveState="active", UnitFileState="enabled", DropInPaths=" ".join(drop_ins))
        return warnings(drift.units, on_green(unit=state, files=unit()))

    assert found(f"{UNIT}.d/local.conf") == []
    assert found(f"{UNIT}.d/by-hand.conf", f"{UNIT}.d/local.conf") == [
        f"green-1 {UNIT}: it is changed by {UNIT}.d/by-hand.conf"
    ]


def test_of_haproxys_unit_only_the_agent_s_drop_in_is_no_drift() -> None:
    def found(*drop_ins: str) -> list[str]:
        state = Unit(ActiveState="active", UnitFileState="enabled", DropInPaths=" ".join(drop_ins))
        there = Proxy(
            **{**MACHINE, "unit": state, "files": {CONFIG_PATH: "config"}},
            config_error="",
            certificates={},
            probes={},
        )
        known = facts(proxies={"lb-1": Reading(there, NOW, NOW)}, config="config")
        return [line for line in warnings(drift.haproxy_file, known) if "changed by" in line]

    by_hand = f"{Path(DROP_IN_PATH).parent}/by-hand.conf"
    assert found(DROP_IN_PATH) == []
    assert found(by_hand, DROP_IN_PATH) == [f"lb-1 haproxy.service: it is changed by {by_hand}"]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        (unit(), None),
        (unit(released(V2)), "it differs from what a deploy would install"),
        ({UNIT: f"{unit()[UNIT]}# by hand\n"}, "it differs from what a deploy would install"),
        ({UNIT: None}, "it is not there"),
    ],
)
def test_a_unit_is_compared_with_that_of_the_current_release(files: dict[str, Any], what: str | None) -> None:
    assert warnings(drift.units, on_green(files=files)) == ([f"green-1 {UNIT}: {what}"] if what else [])


def test_a_unit_of_another_address_is_drift() -> None:
    fleet = FLEET.model_copy(update={"green": (droplet(9, "green-1"),)})
    known = facts(fleet=fleet, servers={"green-1": server(files=unit())})
    assert warnings(drift.units, known) == [f"green-1 {UNIT}: it differs from what a deploy would install"]


def test_a_configuration_that_was_changed_by_hand_is_named_without_what_is_in_it() -> None:
    used = UsedConfiguration(digest=DIGEST, problem="its files are not as they were delivered")
    assert warnings(drift.configurations, on_green(configuration=used)) == [
        f"green-1 configuration: {DIGEST[:12]}: its files are not as they were delivered"
    ]


@pytest.mark.parametrize(
    ("wanted", "subjects"), [(DIGEST, []), (OTHER, ["blue-1 configuration"]), (None, [])]
)
def test_only_the_live_color_is_compared_with_the_configuration_of_today(
    wanted: str | None, subjects: list[str]
) -> None:
    found = drift.configurations(facts(configuration=wanted))
    assert [one.subject for one in found] == subjects


def test_changed_files_of_a_release_are_warnings() -> None:
    files = (
        ChangedFile(path="lib/Shop.pm", what="it is not there"),
        ChangedFile(path="", what="its digest is 1 instead of 2"),
    )
    found = warnings(drift.releases, on_green(compared=Comparison(problem=None, files=files, more=3)))
    current = "green-1 /opt/app-my_perl_app/current"
    assert found == [
        f"{current}/lib/Shop.pm: it is not there",
        f"{current}/.bluegreen/manifest: its digest is 1 instead of 2",
        f"{current}: 3 more of its files are not as they were built",
    ]


def test_a_release_that_was_not_read_to_its_end_is_listed_as_unchecked() -> None:
    known = on_green(compared=Comparison(problem="there was no time to read all of it"))
    assert not_checked(known) == [
        "whether the release on green-1 is as it was built: there was no time to read all of it"
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"current": "by-hand"}, "it points to by-hand, which is not a release there"),
        ({"activated": ()}, f"{R1} was never healthy there"),
        ({"running": released(V2)}, f"it points to {R1}, but {released(V2)} runs"),
    ],
)
def test_a_release_that_is_not_the_one_that_was_activated_is_named(
    changes: dict[str, Any], says: str
) -> None:
    assert warnings(drift.releases, on_green(**changes)) == [f"green-1 /opt/app-my_perl_app/current: {says}"]


def test_a_live_droplet_without_the_confirmed_revision_is_named() -> None:
    other = server(current=released(V2), running=released(V2), releases=(released(V2),))
    found = drift.releases(facts(servers={"blue-1": other}))
    assert f"it is {V2[:12]}, but {V1[:12]} was confirmed to be live" in [one.what for one in found]


def test_a_live_droplet_that_has_no_release_is_named() -> None:
    found = drift.releases(facts(servers={"blue-1": server(current=None, running=None)}))
    assert [one.what for one in found] == [f"it is nothing, but {V1[:12]} was confirmed to be live"]


def test_a_droplet_with_another_artifact_than_its_color_is_named() -> None:
    """Promise 6: one revision, one artifact."""
    fleet = FLEET.model_copy(update={"blue": tuple(droplet(10 + n, f"blue-{n}") for n in (1, 2, 3))})
    other = released(V1, "2")
    odd = server(current=other, running=other, releases=(other,), activated=(healthy(other),))
    known = facts(fleet=fleet, servers={"blue-1": odd, "blue-2": server(), "blue-3": server()})
    assert warnings(drift.releases, known) == [
        f"blue-1 /opt/app-my_perl_app/current: it is another artifact of {V1[:12]} than its color runs: "
        f"{other} instead of {R1}"
    ]
