"""A dry run reaches backing services where nothing can be written, and shows no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.facts.loading import CAGED
from agent.facts.services import services
from agent.system import CallDeadline
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet

DATABASE = {"name": "database", "kind": "address", "value": "10.0.0.5:5432", "timeout": 5}
MAIL = {"name": "mail", "kind": "command", "value": ["bin/ping-mail"], "timeout": 3}
SYSTEMD_RUN = r"""#!/bin/bash
printf '%s\0' "$@" >"$DROPLET/words"
cat "$DROPLET/output"
exit "$(cat "$DROPLET/status")"
"""


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDroplet:
    droplet = LocalDroplet(tmp_path, monkeypatch)
    droplet.program("systemd-run", SYSTEMD_RUN)
    return droplet


def asked(
    droplet: LocalDroplet,
    check: dict[str, Any],
    output: str,
    status: int = 0,
    *,
    seconds: float = 20,
    **more: Any,
) -> Any:
    (droplet.path / "output").write_text(output)
    (droplet.path / "status").write_text(str(status))
    request = {
        "app": APP,
        "properties": ["ProtectHome=yes", "StateDirectory=app-shop"],
        "services": [check],
        **more,
    }
    return services(CallDeadline("facts", seconds), request)["causes"]


def test_an_address_is_tried_by_the_agent_s_program_where_nothing_can_be_written(
    droplet: LocalDroplet,
) -> None:
    refused = f"{CAGED}\ndatabase: connection refused\n"
    assert asked(droplet, DATABASE, refused) == {"database": "connection refused"}
    assert asked(droplet, DATABASE, f"{CAGED}\ndatabase: reached\n") == {"database": ""}
    words = (droplet.path / "words").read_text().split("\0")
    assert {"--property=ProtectSystem=strict", f"--property=User={APP}"} <= set(words)
    assert not any("StateDirectory" in word for word in words)


@pytest.mark.parametrize(
    ("output", "status", "found"),
    [
        (f"{CAGED}\nnoise\n", 0, {"mail": ""}),
        (f"{CAGED}\nno route\n", 4, {"mail": "ended with 4: no route"}),
        (f"{CAGED}\n", 4, {"mail": "ended with 4"}),
        ("Failed to start\n", 1, {}),
    ],
    ids=["reached", "fails", "fails silently", "no cage"],
)
def test_a_command_counts_once_it_ran_in_its_cage(
    droplet: LocalDroplet, output: str, status: int, found: dict[str, str]
) -> None:
    assert asked(droplet, MAIL, output, status) == found


def test_a_service_without_an_answer_is_left_out(droplet: LocalDroplet) -> None:
    assert asked(droplet, DATABASE, "Failed to start\n", 1) == {}
    assert asked(droplet, MAIL, f"{CAGED}\n", seconds=1) == {}


def test_a_secret_is_hidden(droplet: LocalDroplet, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    environment.write_text('DB_PASSWORD="hunter2-hunter2"\n')
    properties = [f"EnvironmentFile={environment}"]
    found = asked(droplet, MAIL, f"{CAGED}\nas hunter2-hunter2\n", 1, properties=properties)
    assert found == {"mail": "ended with 1: as [DB_PASSWORD]"}
