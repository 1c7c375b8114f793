"""What a deploy needs on a droplet."""

from __future__ import annotations

import pytest

from bluegreen.checks import machines
from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Severity
from bluegreen.checks.run import Check
from bluegreen.checks.status import status_of
from tests.unit.facts import FLEET, NOW, droplet, facts, server
from tests.unit.fleets import TOOLS
from tests.unit.my_app import app_with

PERL = "/usr/bin/perl"


@pytest.mark.parametrize(
    ("clock", "said"), [(NOW + 1, []), (NOW + 91, ["its clock differs from Airflow's by 90 s"])]
)
def test_a_clock_is_compared_with_airflows(clock: float, said: list[str]) -> None:
    found = machines.clock(facts(servers={"green-1": server(clock=clock)}))
    assert [one.what for one in found] == said


def test_too_little_memory_and_too_few_inodes_are_reported() -> None:
    found = machines.room(facts(servers={"green-1": server(memory_free_mb=20, inodes_free=10)}))
    assert [one.subject for one in found] == ["green-1", "green-1"]


def test_a_login_other_than_root_is_an_error() -> None:
    [found] = machines.login(facts(servers={"green-1": server(uid=1000)}))
    assert "not as root" in found.what


def without(*programs: str) -> dict[str, str]:
    return {name: version for name, version in TOOLS.items() if name not in programs}


def found_in(check: Check, known: Facts) -> dict[str, list[str]]:
    """Return the findings by the droplet's name, each with its severity."""
    found: dict[str, list[str]] = {}
    for one in check(known):
        found.setdefault(one.subject, []).append(f"{one.severity}: {one.what}")
    return found


def test_a_problem_of_a_live_droplet_is_only_a_warning() -> None:
    tools = server(tools=without("carton"))
    assert found_in(machines.tools, facts(servers={"blue-1": tools, "green-1": tools})) == {
        "blue-1": ["warning: carton is not installed, or broken"],
        "green-1": ["error: carton is not installed, or broken"],
    }


TWO = FLEET.model_copy(update={"green": (droplet(4, "green-1"), droplet(5, "green-2"))})


@pytest.mark.parametrize(
    ("missing", "on_builder", "elsewhere"),
    [
        ("carton", ["error: carton is not installed, or broken"], None),
        ("cpanm", ["error: cpanm is not installed, or broken"], None),
        ("cc", ["warning: no cc, so modules written in C cannot be built"], None),
        (
            PERL,
            [f"error: {PERL} is not installed, or broken"],
            [f"error: {PERL} is not installed, or broken"],
        ),
    ],
)
def test_only_the_droplet_that_builds_needs_what_builds(
    missing: str, on_builder: list[str], elsewhere: list[str] | None
) -> None:
    tools = server(tools=without(missing))
    found = found_in(machines.tools, facts(fleet=TWO, servers={"green-1": tools, "green-2": tools}))
    assert (found.get("green-1"), found.get("green-2")) == (on_builder, elsewhere)


@pytest.mark.parametrize(
    ("installer", "missing", "count"),
    [("cpanm", "carton", 0), ("cpanm", "cpanm", 1), ("none", "cpanm", 0), ("none", "cc", 0)],
)
def test_each_installer_needs_its_own_programs(installer: str, missing: str, count: int) -> None:
    app = app_with(dependencies={"installer": installer})
    known = facts(app=app, servers={"green-1": server(tools=without(missing))})
    assert len(list(machines.tools(known))) == count


def test_a_perl_that_others_may_change_is_an_error() -> None:
    [found] = machines.tools(facts(servers={"green-1": server(perl_changeable="/srv/perl")}))
    assert (found.severity, found.subject) == (Severity.ERROR, "green-1")
    assert found.what == "/usr/bin/perl is not used: others than root may change /srv/perl"


def test_droplets_of_a_color_need_the_perl_of_the_one_that_builds() -> None:
    fleet = FLEET.model_copy(
        update={
            "green": (droplet(4, "green-1"), droplet(5, "green-2"), droplet(6, "green-3")),
            "blue": (droplet(3, "blue-1"), droplet(7, "blue-2")),
        }
    )
    other = server(perl_key="5.40.1 x86_64\nglibc 2.41")
    same = server(perl_key="5.36.0 x86_64\nglibc 2.36")
    servers = dict.fromkeys(("blue-1", "green-1", "green-3"), same)
    known = facts(fleet=fleet, servers={**servers, "green-2": other, "blue-2": other})
    idle, live = sorted(machines.perls(known), key=lambda one: one.subject, reverse=True)
    assert (idle.severity, idle.subject) == (Severity.ERROR, "green-2")
    assert idle.what == (
        "it has perl 5.40.1 x86_64, glibc 2.41, but green-1, which builds for green, has perl 5.36.0 x86_64, "
        "glibc 2.36"
    )
    assert (live.severity, live.subject) == (Severity.WARNING, "blue-2")
    # What is broken is another check's.
    assert not [*machines.perls(facts(fleet=fleet, servers={"green-2": server(perl_key="")}))]


def test_droplets_with_different_versions_of_a_package_are_named() -> None:
    old = server(package_versions={"libpq5": "15.8", "npm": "9"})
    new = server(package_versions={"libpq5": "15.9"})
    said = "warning: the droplets have different versions of libpq5: 15.8 on blue-1; 15.9 on green-1"
    known = facts(servers={"blue-1": old, "green-1": new})
    assert found_in(machines.package_versions, known) == {"fleet.packages": [said]}
    assert found_in(machines.package_versions, facts(servers={"blue-1": old, "green-1": old})) == {}
    assert status_of(known, [], []).droplets[1].packages == {"libpq5": "15.9"}


def test_packages_that_a_deploy_installs_are_a_warning_and_unknown_ones_an_error() -> None:
    lacking = server(missing_packages=("libpq5", "nonesuch", "npm"), unknown_packages=("nonesuch",))
    known = facts(servers={"blue-1": lacking, "green-1": lacking})
    said = "warning: libpq5, npm (fleet.packages) are not installed"
    unknown = "its package sources do not have nonesuch (fleet.packages)"
    assert found_in(machines.packages, known) == {
        "blue-1": [f"warning: {unknown}", said],
        "green-1": [f"error: {unknown}", said],
    }


def test_a_full_disk_is_a_warning_while_the_reserve_is_enough() -> None:
    [found] = machines.room(facts(servers={"green-1": server(disk_free_mb=3, disk_reserved_mb=200)}))
    assert found.severity == "warning"
    assert found.what == "only 3 MB of disk are free; the next deploy may use a reserve of 200 MB"


def test_too_few_inodes_are_a_warning_while_the_reserve_is_enough() -> None:
    [found] = machines.room(facts(servers={"green-1": server(inodes_free=3, inodes_reserved=20_000)}))
    assert found.severity == "warning"
    assert found.what.endswith("room for only 3 more files; the next deploy may use a reserve of 20000")
