"""A one-off command runs beside the app's service, with what that runs with, and never in its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet.guests import PREFIX, remembered_end
from agent.droplet.run_command import run_command
from agent.protocol import AgentError, Code, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet

UNIT = f"{PREFIX}{APP}-0123456789ab"
PROPERTIES = ["NoNewPrivileges=yes", "WorkingDirectory=/opt/x", "MemoryMax=2G"]


class Droplet(LocalDroplet):
    """A droplet that is asked to run a command."""

    def run(self, *command: str, **changes: Any) -> dict[str, Any]:
        """Run a command."""
        wanted = {"release": self.release, "configuration": "c" * 64, "properties": PROPERTIES, "timeout": 60}
        request = {"app": APP, "unit": UNIT, **wanted, "command": list(command), **changes}
        return run_command(Call.of(Verb.RUN_COMMAND), request)

    def refusal(self, *command: str, **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.run(*command, **changes)
        return raised.value


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    droplet = Droplet(tmp_path, monkeypatch)
    (droplet.app.releases / droplet.release).mkdir(parents=True)
    (droplet.app.jobs / UNIT).mkdir()
    return droplet


def test_a_command_has_the_cage_of_the_service_and_limits_of_its_own(droplet: Droplet) -> None:
    ran = droplet.run("bin/reindex", "--since", "$x")
    assert (ran["command"], ran["exit_status"]) == ("bin/reindex with 2 arguments", 0)
    words = (droplet.read("run-command") or "").splitlines()
    properties = [word.removeprefix("--property=") for word in words if word.startswith("--property=")]
    limits = {"RuntimeMaxSec=60", f"StateDirectory={APP}", "OOMScoreAdjust=1000", "Nice=19", "CPUWeight=10"}
    assert {f"User={APP}", f"BindsTo={UNIT}.service", *limits, *PROPERTIES} <= set(properties)
    # The later one counts: the service's own limit is not the command's.
    assert [one for one in properties if one.startswith("MemoryMax=")] == ["MemoryMax=2G", "MemoryMax=25%"]
    assert words[words.index("--") + 1 :] == ["/usr/bin/env", "bin/reindex", "--since", "$$x"]


def test_a_command_that_fails_is_named_with_its_last_words_and_recorded(droplet: Droplet) -> None:
    (droplet.path / "status").write_text("3")
    (droplet.path / "output").write_text("one\nno such customer\n")
    assert str(droplet.refusal("bin/x")) == "bin/x ended with 3: one / no such customer"
    ran = json.loads((droplet.app.jobs / UNIT / "answers.json").read_text())["run_command"]
    assert (ran["command"], ran["exit_status"]) == ("bin/x", 3)


@pytest.mark.parametrize("status", [0, 3])
def test_the_end_of_a_command_is_remembered_without_its_words(droplet: Droplet, status: int) -> None:
    (droplet.path / "status").write_text(str(status))
    if status:
        droplet.refusal("bin/x", "s3cret")
    else:
        droplet.run("bin/x", "s3cret")
    remembered = remembered_end(droplet.app, UNIT)
    assert remembered
    assert remembered == json.loads((droplet.app.jobs / UNIT / "answers.json").read_text())["run_command"]
    assert (remembered["command"], remembered["exit_status"]) == ("bin/x with 1 argument", status)


def test_a_command_whose_end_cannot_be_remembered_has_ended_all_the_same(droplet: Droplet) -> None:
    droplet.app.commands.parent.mkdir(parents=True, exist_ok=True)
    droplet.app.commands.write_text("no directory")
    assert droplet.run("bin/x")["exit_status"] == 0
    assert remembered_end(droplet.app, UNIT) is None


def test_no_word_after_the_program_leaves_the_droplet(
    droplet: Droplet, capfd: pytest.CaptureFixture[str]
) -> None:
    (droplet.path / "status").write_text("3")
    refused = str(droplet.refusal("bin/reset-password", "alice", "s3cret"))
    assert refused.startswith("bin/reset-password with 2 arguments ended with 3")
    kept = (droplet.app.jobs / UNIT / "answers.json").read_text()
    logged = capfd.readouterr().out
    assert f"running bin/reset-password with 2 arguments in {droplet.release}" in logged
    for shown in (refused, kept, logged):
        assert "alice" not in shown
        assert "s3cret" not in shown


@pytest.mark.parametrize(
    "changes",
    [
        {"command": []},
        {"command": "bin/x"},
        {"command": ["x"] * 201},
        {"command": ["x" * (65 << 10)]},
        {"command": ["a\0b"]},
        {"release": "../x"},
        {"configuration": "x"},
        {"timeout": 0},
        {"timeout": 86400},
    ],
)
def test_what_is_no_command_is_refused(droplet: Droplet, changes: dict[str, Any]) -> None:
    assert droplet.refusal("bin/x", **changes).code is Code.BAD_REQUEST
    assert droplet.read("run-command") is None


def test_nothing_runs_in_a_release_that_is_gone(droplet: Droplet) -> None:
    name = f"{'e' * 40}-{'e' * 16}"
    assert str(droplet.refusal("bin/x", release=name)) == f"the release {name} is not on this droplet"
