"""Who may run a one-off command, and what a command is."""

from __future__ import annotations

from typing import Any

import pytest

from agent.one_off import describe_command
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.release.jobs import JobReport
from bluegreen.run.one_off import CommandTarget, OneOffCommand, command_in, require_user
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.policy import PolicySettings
from tests.unit.fleets import BLUE

RAN = {"command": "bin/x", "began": 1764500000.25, "seconds": 3.04, "exit_status": 3}
TARGET = CommandTarget(
    live=Color.BLUE, droplet=BLUE, release=f"{'a' * 40}-{'d' * 16}", configuration="c" * 64
)


def app_of(*users: str) -> App:
    return load_app("my_perl_app").model_copy(update={"policy": PolicySettings(run=users)})


def test_a_user_of_the_app_s_file_may_run_commands() -> None:
    assert require_user(app_of("alice", "bob"), "manual", "bob", cleared=False) == "bob"


@pytest.mark.parametrize(
    ("run_type", "user", "cleared", "why"),
    [
        ("manual", "mallory", False, "mallory may not run commands, but alice, bob (setting policy.run)"),
        # A name is an exact one.
        ("manual", "Alice", False, "Alice may not run commands"),
        ("manual", None, False, "this run was not triggered by a user, but is manual"),
        ("scheduled", None, False, "but is scheduled; only alice, bob may run commands"),
        # Another DAG's run hands the name of its own user on.
        ("operator_triggered", "alice", False, "but is operator_triggered"),
        ("backfill", "alice", False, "but is backfill"),
        # Whoever clears a run of alice's need not be alice.
        ("manual", "alice", True, "this run was cleared, and Airflow does not say by whom"),
    ],
)
def test_everybody_else_is_refused_with_the_setting(
    run_type: str, user: str | None, cleared: bool, why: str
) -> None:
    with pytest.raises(PolicyError) as refused:
        require_user(app_of("alice", "bob"), run_type, user, cleared)
    assert why in str(refused.value)
    assert "nothing was run" in str(refused.value)


def test_a_command_is_a_list_of_words() -> None:
    assert command_in({"command": ["bash", "-c", "a\nb"]}) == ["bash", "-c", "a\nb"]


@pytest.mark.parametrize(
    "command",
    [
        None,
        "bin/x",
        [],
        [""],
        ["A=1", "bin/x"],
        ["-i", "bin/x"],
        ["x", 1],
        ["a\0b"],
        ["x"] * 201,
        ["x" * (65 << 10)],
    ],
)
def test_what_is_no_command_is_refused_before_anything_is_asked(command: Any) -> None:
    with pytest.raises(BlueGreenError, match="nothing was run"):
        command_in({"command": command})


def report(**answers: Any) -> JobReport:
    about = {"state": "failed", "exit_status": 1, "result": "exit-code", "run_id": "run", "seconds": 3.0}
    return JobReport.model_validate({**about, "cursor": 1, "answers": answers})


def test_the_record_has_the_command_its_end_and_where_it_ran() -> None:
    ended = OneOffCommand.of(TARGET, ["bin/x", "a b"], report(run_command=RAN))
    assert ended.ran is not None
    assert (ended.droplet, ended.command, ended.ran.exit_status) == ("blue-1", "bin/x with 1 argument", 3)
    assert str(ended) == "bin/x with 1 argument ended with 3 after 3 s on blue-1 in aaaaaaaaaaaa"


@pytest.mark.parametrize("answer", [{}, {"run_command": None}, {"run_command": {"began": "x"}}])
def test_a_command_whose_end_is_not_known_is_recorded_all_the_same(answer: dict[str, Any]) -> None:
    ended = OneOffCommand.of(TARGET, ["bin/x"], report(**answer))
    assert ended.ran is None
    assert str(ended) == "bin/x was ended on blue-1 in aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("command", "described"),
    [
        (["bin/reindex"], "bin/reindex"),
        (["bin/reset-password", "alice", "s3cret"], "bin/reset-password with 2 arguments"),
        (["bash", "-c", "a\nb"], "bash with 2 arguments"),
        (["bin/reset-password alice s3cret"], "bin/reset-password…"),
        (["PASSWORD=s3cret", "bin/x"], "PASSWORD… with 1 argument"),
        (["b" * 500], f"{'b' * 80}…"),
        (["$x"], "'$x'"),
        ([" s3cret"], "''…"),
    ],
)
def test_of_a_command_everybody_is_shown_the_program_alone(command: list[str], described: str) -> None:
    assert describe_command(command) == described


def test_a_command_in_one_line_is_refused_without_its_words() -> None:
    with pytest.raises(BlueGreenError) as refused:
        command_in({"command": ["bin/reset-password alice s3cret"]})
    assert "has a space in its first word" in str(refused.value)
    assert "s3cret" not in str(refused.value)
