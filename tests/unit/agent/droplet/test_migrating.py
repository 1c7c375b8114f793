"""The commands of a migration run in their release, and a failure is named with the command's last words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import release_command
from agent.droplet.migrating import migrate
from agent.droplet.release_command import last_words
from agent.protocol import AgentError, Code, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import SERVICE, UNIT, LocalDroplet, about

PROPERTIES = ["NoNewPrivileges=yes", "WorkingDirectory=/opt/x", "Environment=PERL5LIB=/opt/x/lib"]
SQITCH = ["sqitch", "deploy", "--target", "it's $HOME"]
# What Sqitch 1.3.1 writes into a pipe, with SQLite.
FAILED_CHANGE = """\
Adding registry tables to db:sqlite:sqitch.db
Deploying changes to db:sqlite:f.db
  + users .. ok
  + bad .... Parse error near line 1: near "nonsense": syntax error
  nonsense foo;
  ^--- error here
not ok
"sqlite3" unexpectedly returned exit value 1

"""
FAILED_VERIFY = """\
Deploying changes to db:sqlite:f.db
  + ver .. 1
Parse error near line 1: near "nothing": syntax error
Verify script "verify/ver.sql" failed.
not ok
Deploy failed
"""


class Droplet(LocalDroplet):
    """A droplet that is asked to run commands of a migration."""

    def answer(self, *commands: list[str], **changes: Any) -> dict[str, Any]:
        """Run the commands."""
        wanted = {
            "release": self.release,
            "phase": "expand",
            "commands": list(commands),
            "properties": PROPERTIES,
            "timeout": 60.0,
        }
        return migrate(Call.of(Verb.MIGRATE), about(**{**wanted, **changes}))

    def migrate(self, *commands: list[str], **changes: Any) -> list[dict[str, Any]]:
        """Run the commands; return which did."""
        ran: list[dict[str, Any]] = self.answer(*commands, **changes)["ran"]
        return ran

    def refusal(self, *commands: list[str], **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.migrate(*commands, **changes)
        return raised.value

    @property
    def answered(self) -> Any:
        """The commands that ran by the job's answers, each with its exit status."""
        path = self.job / "answers.json"
        ran = json.loads(path.read_text())["migrate"]["ran"] if path.exists() else []
        return [(one["command"], one["exit_status"]) for one in ran]


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    droplet = Droplet(tmp_path, monkeypatch)
    (droplet.app.releases / droplet.release).mkdir(parents=True)
    return droplet


def test_commands_run_as_the_app_s_user_with_the_properties_of_its_service(droplet: Droplet) -> None:
    ran = droplet.migrate(SQITCH)
    words = (droplet.read("run-1") or "").splitlines()
    properties = {word.removeprefix("--property=") for word in words if word.startswith("--property=")}
    limits = {f"StateDirectory={APP}", "RuntimeMaxSec=60", "KillSignal=SIGTERM", "TimeoutStopSec=10"}
    assert {f"User={APP}", f"BindsTo={UNIT}.service", *limits, *PROPERTIES} <= properties
    # systemd makes one $ of two.
    assert words[words.index("--") + 1 :] == ["/usr/bin/env", *SQITCH[:-1], "it's $$HOME"]
    assert [(one["command"], one["exit_status"]) for one in ran] == droplet.answered
    assert droplet.answered == [("sqitch deploy --target 'it'\"'\"'s $HOME'", 0)]


def test_what_is_pending_is_asked_before_and_after_and_may_write_nothing(droplet: Droplet) -> None:
    count = 'cd "$DROPLET"; n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo $n >n'
    note = 'printf "%s\\n" "$@" >words-$n; echo call $n'
    droplet.program("systemd-run", f"#!/bin/bash\n{count}; {note}\n")
    answer = droplet.answer(["one"], status=["bin/status", "$x"])
    assert (answer["before"], answer["after"]) == ("call 1", "call 3")
    asked, ran = ((droplet.read(f"words-{number}") or "").splitlines() for number in (1, 2))
    assert asked[-2:] == ["bin/status", "$$x"]
    assert "--property=RuntimeMaxSec=30" in asked
    assert f"--property=StateDirectory={APP}" in ran
    assert not any("StateDirectory" in word for word in asked)


def test_a_status_that_fails_or_shows_a_secret_is_no_failure_and_shows_none(droplet: Droplet) -> None:
    failing = 'case "$*" in *bin/status*) echo hunter2-hunter2; exit $(cat "$DROPLET/status") ;; esac'
    droplet.program("systemd-run", f"#!/bin/bash\n{failing}\n")
    (droplet.path / "status").write_text("1")
    answer = droplet.answer(["one"], status=["bin/status"])
    assert (answer["before"], len(answer["ran"])) == ("", 1)
    (droplet.path / "status").write_text("0")
    environment = droplet.app.configurations / ("e" * 64) / "environment"
    environment.parent.mkdir(parents=True)
    environment.write_text('DB_PASSWORD="hunter2-hunter2"\n')
    assert droplet.answer(["one"], status=["bin/status"])["before"] == "[DB_PASSWORD]"


def test_a_migration_finds_what_root_adds_for_the_app_on_its_droplet(droplet: Droplet) -> None:
    drop_in = droplet.app.paths.units / f"{SERVICE}.d/local.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nNoNewPrivileges=no\n")
    droplet.migrate(SQITCH)
    assert "--property=NoNewPrivileges=no" in (droplet.read("run-1") or "").splitlines()


def test_commands_run_one_after_another_up_to_the_first_that_fails(droplet: Droplet) -> None:
    # Its systemd counts the commands, and the second one fails.
    count = 'cd "$DROPLET"; n=$(($(cat n 2>/dev/null || echo 0) + 1)); echo $n >n; echo "line $n"'
    droplet.program("systemd-run", f"#!/bin/bash\n{count}; [ $n != 2 ] || exit 3\n")
    refused = droplet.refusal(["one"], ["two"], ["three"])
    assert (refused.code, str(refused)) == (Code.FAILED, "expand: two ended with 3: line 2")
    assert droplet.answered == [("one", 0), ("two", 3)]


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", ""),
        ("one\n\ntwo\nthree\nfour\n", ": two / three / four"),
        (
            FAILED_CHANGE,
            ': + bad .... Parse error near line 1: near "nonsense": syntax error / nonsense foo; / '
            '^--- error here / not ok / "sqlite3" unexpectedly returned exit value 1',
        ),
        (
            FAILED_VERIFY,
            ': + ver .. 1 / Parse error near line 1: near "nothing": syntax error / Verify script '
            '"verify/ver.sql" failed. / not ok / Deploy failed',
        ),
    ],
    ids=["silent", "any command", "a change that fails", "a verify that fails"],
)
def test_a_command_that_fails_is_named_with_its_change_and_its_last_words(
    droplet: Droplet, output: str, words: str
) -> None:
    (droplet.path / "status").write_text("2")
    (droplet.path / "output").write_text(output)
    assert str(droplet.refusal(["sqitch", "deploy"])) == f"expand: sqitch deploy ended with 2{words}"


@pytest.mark.parametrize(("passed", "how"), [(60.5, "took longer than 60 s"), (3.0, "ended with 1")])
def test_a_command_that_takes_too_long_names_the_limit_and_where_it_was(
    droplet: Droplet, passed: float, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([100.0, 100.0 + passed])
    monkeypatch.setattr(release_command, "since_boot", lambda: next(moments))
    (droplet.path / "status").write_text("1")
    (droplet.path / "output").write_text("  + lock_me .. \n")
    setting = " (setting migrations.timeout)" if "longer" in how else ""
    assert str(droplet.refusal(["sqitch", "deploy"])) == f"expand: sqitch deploy {how}{setting}: + lock_me .."


def test_no_part_of_a_line_is_shown_that_may_be_half_of_a_secret() -> None:
    assert last_words(f"one\n{'x' * 3000}\ntwo\n") == "one / two"


def test_a_full_disk_is_named_whatever_the_command_says(droplet: Droplet) -> None:
    (droplet.path / "status").write_text("1")
    (droplet.path / "output").write_text("cannot write: No space left on device\n")
    expected = f"expand: migrate failed: No space left on the disk of {droplet.app.root}"
    assert str(droplet.refusal(["migrate"])) == expected


def test_a_long_command_is_shown_in_part(droplet: Droplet) -> None:
    [ran] = droplet.migrate(["x" * 300])
    assert ran["command"] == f"{'x' * 200}…"


def test_nothing_runs_in_a_release_that_is_not_there(droplet: Droplet) -> None:
    name = f"{'e' * 40}-{'e' * 16}"
    assert str(droplet.refusal(SQITCH, release=name)) == f"the release {name} is not on this droplet"
    path = "/var/lib/bluegreen/x/environment"
    refused = str(droplet.refusal(SQITCH, properties=[f"EnvironmentFile={path}"]))
    assert refused == f"{path} is not on this droplet; run a deploy, which delivers it"
    assert droplet.answered == []
    assert droplet.read("run-1") is None


@pytest.mark.parametrize(
    "changes",
    [
        {"commands": []},
        {"commands": "sqitch"},
        {"commands": [["x"]] * 11},
        {"commands": [[]]},
        {"commands": [["a\0b"]]},
        {"phase": "contract; id"},
        {"timeout": 0},
        {"release": "../x"},
    ],
)
def test_what_is_no_migration_is_refused(droplet: Droplet, changes: dict[str, Any]) -> None:
    assert droplet.refusal(SQITCH, **changes).code is Code.BAD_REQUEST
