"""What was changed by hand."""

from __future__ import annotations

from typing import Any

from bluegreen.agent_bundle import agent_bundle
from bluegreen.checks import drift
from bluegreen.checks.facts import (
    ChangedFile,
    Comparison,
    Proxy,
    Reading,
    Unit,
)
from bluegreen.checks.gather.expected import BOOT_UNIT_PATH, expected_boot_unit, expected_unit
from bluegreen.checks.not_checked import not_checked
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.agent_status import answer
from tests.unit.facts import MACHINE, NOW, V1, facts, server


def test_only_the_drop_in_local_conf_is_no_drift() -> None:
    path = "/etc/systemd/system/app-my_perl_app.service"
    files = {path: expected_unit(load_app("my_perl_app"))}

    def found(*drop_ins: str) -> list[str]:
        unit = Unit(ActiveState="active", UnitFileState="enabled", DropInPaths=" ".join(drop_ins))
        return [one.what for one in drift.units(facts(servers={"green-1": server(unit=unit, files=files)}))]

    assert found(f"{path}.d/local.conf") == []
    assert found(f"{path}.d/by-hand.conf", f"{path}.d/local.conf") == [
        f"it is changed by {path}.d/by-hand.conf"
    ]


Shown = list[tuple[str, str, tuple[str, ...]]]


def agent_findings(agent: dict[str, Any] | None, boot_unit: str | None) -> Shown:
    machine = {**MACHINE, "files": {BOOT_UNIT_PATH: boot_unit}}
    proxy = Proxy(**machine, config_error="", certificates=None, probes={})
    statuses = {"lb-1": ProxyStatus.parse(answer(agent=agent))}
    there = facts(statuses=statuses, proxies={"lb-1": Reading(proxy, NOW - 1, NOW + 1)})
    return [(one.subject, one.what, one.diff) for one in drift.agent(there)]


def test_an_agent_that_is_not_this_projects_is_shown_with_what_is_different() -> None:
    path = agent_bundle().path
    assert agent_findings({"path": path, "difference": None}, expected_boot_unit()) == []
    assert agent_findings({"path": path, "difference": ["-x", "+y"]}, expected_boot_unit()) == [
        (f"lb-1 {path}", "it differs from this project's", ("-x", "+y"))
    ]
    assert agent_findings({"path": path, "difference": []}, None) == [
        (f"lb-1 {path}", "it is not there", ()),
        (f"lb-1 {BOOT_UNIT_PATH}", "it is not there", ()),
    ]


def test_a_boot_unit_that_names_another_version_is_shown() -> None:
    earlier = expected_boot_unit().replace(agent_bundle().name, "agent-0123456789abcdef.pyz")
    [(subject, what, diff)] = agent_findings(None, earlier)
    assert (subject, what) == (f"lb-1 {BOOT_UNIT_PATH}", "it differs from this project's")
    assert any("agent-0123456789abcdef.pyz" in line for line in diff)


def test_changed_files_of_a_release_are_warnings_and_unclear_ones_are_listed() -> None:
    file = ChangedFile(path="lib/Shop.pm", what="it is not there", diff=())
    there = server(
        activated=(V1,), compared=Comparison(problem=None, files=(file,), more=3, unclear=("stamp",))
    )
    sick = facts(servers={"green-1": there})
    told = [str(one) for one in drift.releases(sick) if one.severity == "warning"]
    assert any(
        one.startswith("green-1 /opt/app-my_perl_app/current/lib/Shop.pm: it is not there") for one in told
    )
    assert any("3 more of its files" in one for one in told)
    assert not_checked(sick) == [
        "whether stamp on green-1 is as it was committed: git expands $Format: again at each export"
    ]
