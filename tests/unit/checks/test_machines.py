"""What a deploy needs on a droplet."""

from __future__ import annotations

import pytest

from bluegreen.checks import machines
from tests.unit.facts import NOW, facts, server


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


def test_a_problem_of_a_live_droplet_is_only_a_warning() -> None:
    sick = server(tools={"perl": "5", "git": "2", "cc": "1", "make": "1"})
    found = machines.tools(facts(servers={"blue-1": sick, "green-1": sick}))
    assert {one.subject: str(one.severity) for one in found} == {"blue-1": "warning", "green-1": "error"}


def test_a_full_disk_is_a_warning_while_the_reserve_is_enough() -> None:
    [found] = machines.room(facts(servers={"green-1": server(disk_free_mb=3, disk_reserved_mb=200)}))
    assert found.severity == "warning"
    assert found.what == "only 3 MB of disk are free; the next deploy may use a reserve of 200 MB"


def test_too_few_inodes_are_a_warning_while_the_reserve_is_enough() -> None:
    [found] = machines.room(facts(servers={"green-1": server(inodes_free=3, inodes_reserved=20_000)}))
    assert found.severity == "warning"
    assert found.what.endswith("room for only 3 more files; the next deploy may use a reserve of 20000")
