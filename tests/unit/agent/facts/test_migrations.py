"""A dry run asks what is pending where nothing can be written, and shows no secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.facts.loading import CAGED
from agent.facts.migrations import migrations
from agent.system import CallDeadline
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import UNIT, LocalDroplet

SYSTEMD_RUN = r"""#!/bin/bash
printf '%s\0' "$@" >"$DROPLET/words"
cat "$DROPLET/output"
exit "$(cat "$DROPLET/status")"
"""


def asked(droplet: LocalDroplet, output: str, status: int, *properties: str) -> Any:
    (droplet.path / "output").write_text(output)
    (droplet.path / "status").write_text(str(status))
    droplet.program("systemd-run", SYSTEMD_RUN)
    request = {
        "app": APP,
        "unit": UNIT,
        "release": droplet.release,
        "command": ["/usr/bin/env", "sqitch", "status"],
        "properties": ["ProtectHome=yes", "StateDirectory=app-shop", *properties],
        "timeout": 60.0,
    }
    return migrations(CallDeadline("facts", 20), request)


@pytest.mark.parametrize(
    ("output", "status", "found"),
    [
        (f"{CAGED}\nUndeployed changes:\n  * a\n  * b\n", 0, {"status": 0, "pending": "2 pending"}),
        (f"{CAGED}\nno such database\n", 2, {"status": 2, "pending": "no such database"}),
        ("Failed to start\n", 1, {"status": None, "pending": "Failed to start"}),
    ],
    ids=["pending", "fails", "no cage"],
)
def test_what_a_command_says_counts_once_it_ran_in_its_cage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int, found: dict[str, Any]
) -> None:
    droplet = LocalDroplet(tmp_path, monkeypatch)
    assert asked(droplet, output, status) == found
    words = (droplet.path / "words").read_text().split("\0")
    assert "--property=ProtectSystem=strict" in words
    assert not any("StateDirectory" in word for word in words)


def test_a_secret_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    droplet = LocalDroplet(tmp_path, monkeypatch)
    environment = tmp_path / "environment"
    environment.write_text('DB_PASSWORD="hunter2-hunter2"\n')
    found = asked(droplet, f"{CAGED}\nas hunter2-hunter2\n", 0, f"EnvironmentFile={environment}")
    assert found["pending"] == "as [DB_PASSWORD]"
