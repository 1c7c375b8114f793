"""What the checks make of facts that machines of the sandbox cannot show, and how findings are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from bluegreen.app import load_app
from bluegreen.checks import account, balancers, health, machines
from bluegreen.checks.dependencies import cache_key, distributions, not_vendored
from bluegreen.checks.facts import (
    Account,
    AppServer,
    Facts,
    LoadBalancer,
    Reading,
    Source,
    Unit,
)
from bluegreen.checks.finding import Finding, difference, error, masked, warning, worst_first
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.checks.table import summary, table
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet, Fleet
from tests.unit.test_provision_check import status

NOW = 1_800_000_000.0
V1 = "a" * 40


def droplet(number: int, name: str, **changes: Any) -> Droplet:
    addresses = {"public": IPv4Address(f"198.18.0.{number}"), "private": IPv4Address(f"198.19.0.{number}")}
    about: dict[str, Any] = {"status": "active", "vpc": "home", "memory": 1024, "vcpus": 1, **addresses}
    return Droplet(id=number, name=name, **{**about, **changes})


FLEET = Fleet(
    load_balancers=(droplet(1, "lb-1"),), blue=(droplet(3, "blue-1"),), green=(droplet(4, "green-1"),)
)
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


def server(**changes: Any) -> Reading[AppServer]:
    said: dict[str, Any] = {
        "tools": dict.fromkeys(("perl", "carton", "git", "cc", "make"), "1.0"),
        "missing_users": (),
        "perl_key": "5.36.0 x86_64\n",
        "current": V1,
        "running": V1,
        "releases": (V1,),
        "activated": (V1,),
        "cache": (),
        "jobs": (),
        "remote": None,
        "load": None,
        "changed": None,
        "mirror_error": None,
    }
    return Reading(AppServer(**{**MACHINE, **said, **changes}), NOW - 1, NOW + 1)


def facts(**changes: Any) -> Facts:
    balancer = LoadBalancer(**MACHINE, config_error="", certificate=None, probes={})
    calm: dict[str, Any] = {
        "app": load_app("my_perl_app"),
        "account": Account(FLEET.droplets, "home"),
        "fleet": FLEET,
        "source": None,
        "statuses": {"lb-1": status()},
        "load_balancers": {"lb-1": Reading(balancer, NOW - 1, NOW + 1)},
        "servers": {"blue-1": server(), "green-1": server()},
        "config": None,
        "taken_at": NOW,
    }
    return Facts(**{**calm, **changes})


def with_green(one: Droplet) -> Fleet:
    return FLEET.model_copy(update={"green": (one,)})


@pytest.mark.parametrize(
    ("clock", "said"), [(NOW + 1, []), (NOW + 91, ["its clock differs from Airflow's by 90 s"])]
)
def test_a_clock_is_compared_with_airflows(clock: float, said: list[str]) -> None:
    found = machines.clock(facts(servers={"green-1": server(clock=clock)}))
    assert [one.what for one in found] == said


def test_too_little_memory_and_too_few_files_are_told() -> None:
    found = machines.room(facts(servers={"green-1": server(memory_free_mb=20, inodes_free=10)}))
    assert [one.subject for one in found] == ["green-1", "green-1"]


def test_a_login_that_is_not_root_is_told() -> None:
    [found] = machines.login(facts(servers={"green-1": server(uid=1000)}))
    assert "not as root" in found.what


def test_an_idle_color_that_is_weaker_than_the_live_one_is_told() -> None:
    found = account.completeness(facts(fleet=with_green(droplet(4, "green-1", memory=512))))
    assert "it has 512 MB of memory, blue has 1024" in [one.what for one in found]


def test_a_droplet_of_another_network_is_told() -> None:
    [found] = account.network(facts(fleet=with_green(droplet(4, "green-1", vpc="other"))))
    assert (found.subject, found.severity) == ("green-1", "error")


def test_a_droplet_that_is_off_is_told() -> None:
    found = [one.what for one in account.roles(facts(fleet=with_green(droplet(4, "green-1", status="off"))))]
    assert "green-1 is 'off' instead of active; power it on" in found


@pytest.mark.parametrize("version", ["0.0", "2", "unknown"])
def test_a_version_of_haproxy_that_tells_nothing_is_refused(version: str) -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": version})})
    [found] = balancers.answering(facts(statuses={"lb-1": told}))
    assert (found.subject, found.severity) == ("lb-1", "error")
    assert repr(version) in found.what


def test_an_old_haproxy_is_a_warning() -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": "2.4.22"})})
    [found] = balancers.answering(facts(statuses={"lb-1": told}))
    assert found.severity == "warning"


def test_what_is_live_is_judged_more_mildly_than_what_a_deploy_needs() -> None:
    sick = server(tools={"perl": "5", "git": "2", "cc": "1", "make": "1"})
    found = machines.tools(facts(servers={"blue-1": sick, "green-1": sick}))
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_before_a_second_deploy_there_is_nothing_to_go_back_to() -> None:
    empty = server(current=None, unit=Unit(ActiveState="inactive"))
    found = health.serving(facts(servers={"blue-1": server(), "green-1": empty}))
    assert [one.subject for one in found] == ["green"]


def test_an_unreadable_load_balancer_does_not_hide_what_is_wrong_with_a_droplet() -> None:
    found = findings_in(
        facts(
            statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
            servers={"green-1": server(disk_free_mb=3)},
        )
    )
    told = " ".join(one.what for one in found)
    assert "lb-1 cannot be reached" in told
    assert "only 3 MB of disk are free" in told


def test_a_check_that_breaks_is_a_finding_and_hides_no_other() -> None:
    def broken(_: Facts) -> Iterator[Finding]:
        yield warning("before", "found", "do")
        raise KeyError("secret")

    def sound(_: Facts) -> Iterator[Finding]:
        yield warning("after", "found", "do")

    found = findings_in(facts(), [broken, sound])
    assert [one.subject for one in found] == ["check broken", "before", "after"]
    assert "secret" not in str(found)


def test_the_worst_comes_first_and_is_the_last_line() -> None:
    found = worst_first([warning("a", "odd", "look"), error("b", "bad", "mend"), warning("a", "odd", "look")])
    assert summary(found) == "1 error, 1 warning; the worst: b: bad; mend"
    assert [line.split()[0] for line in table(found)] == ["error", "->", "warning", "->"]
    assert summary([]) == "nothing found"


@pytest.mark.parametrize(
    "line",
    [
        "    stats auth admin:Secret1",
        "    user joe insecure-password Secret1",
        "DB_PASSWORD=Secret1",
        "api_token: Secret1",
    ],
)
def test_passwords_are_not_shown(line: str) -> None:
    assert "Secret1" not in masked(line)
    assert "Secret1" not in "\n".join(difference("file", line, "other"))


def test_that_only_a_password_differs_is_told_without_it() -> None:
    [line] = difference("file", "stats auth admin:Secret1", "stats auth admin:Secret2")
    assert "password" in line
    assert "Secret" not in line


SNAPSHOT = """# carton snapshot format: version 1.0
DISTRIBUTIONS
  Try-Tiny-0.31
    pathname: E/ET/ETHER/Try-Tiny-0.31.tar.gz
    provides:
      Try::Tiny 0.31
"""


def test_what_a_snapshot_needs_is_looked_for_in_the_repository() -> None:
    source = Source("main", V1, files=frozenset({"vendor/cache/kept"}), cpanfile="", snapshot=SNAPSHOT)
    assert distributions(SNAPSHOT) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    assert not_vendored(source) == ["E/ET/ETHER/Try-Tiny-0.31.tar.gz"]
    whole = frozenset({f"vendor/cache/authors/id/{distributions(SNAPSHOT)[0]}"})
    assert not_vendored(replace(source, files=whole)) == []


def test_distributions_that_are_installed_already_need_not_be_had() -> None:
    source = Source("main", V1, files=frozenset(), cpanfile="requires 'X';\n", snapshot=SNAPSHOT)
    key = cache_key("5.36.0 x86_64\n", source)
    unreachable = {"mirror_error": "no route"}

    def told(**changes: Any) -> list[str]:
        servers = {"green-1": server(**unreachable, **changes)}
        return [
            one.what for one in findings_in(facts(source=source, servers=servers)) if "metacpan" in one.what
        ]

    assert len(told()) == 1
    assert told(cache=(key,)) == []


def test_a_status_is_told_although_nothing_can_be_read() -> None:
    gone = Reading[Any](BlueGreenError("green-1 cannot be reached"), NOW, NOW)
    sick = facts(
        statuses={"lb-1": BlueGreenError("lb-1 cannot be reached")},
        load_balancers={},
        servers={"green-1": gone},
    )
    text = "\n".join(lines_of(status_of(sick, findings_in(sick), [])))
    assert "live: nothing (not every load balancer could be asked" in text
    assert "green-1 cannot be reached" in text


def test_a_status_names_the_live_color() -> None:
    shown = status_of(facts(), [], [])
    assert (shown.live, shown.is_live_known) == (Color.BLUE, True)
    assert {one.name: one.is_live for one in shown.droplets} == {"blue-1": True, "green-1": False}
