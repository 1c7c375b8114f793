"""What was changed by hand."""

from __future__ import annotations

from bluegreen.checks import drift
from bluegreen.checks.facts import (
    ChangedFile,
    Comparison,
    Unit,
)
from bluegreen.checks.gather.expected import expected_unit
from bluegreen.checks.not_checked import not_checked
from bluegreen.settings.app_file import load_app
from tests.unit.facts import V1, facts, server


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
