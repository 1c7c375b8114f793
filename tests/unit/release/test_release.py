"""What a droplet is told of a release."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from agent.shell import assignments
from bluegreen.agent_bundle import AGENT_DIRECTORY
from bluegreen.release.release import Release, deploy_program, deploy_unit, failure_cause, service_unit
from tests.unit.a_release import RELEASE

REVISION = "0123456789abcdef0123456789abcdef01234567"
UNIT = "bluegreen-app-my_perl_app-0123456789ab"

HOSTILE = replace(
    RELEASE,
    repository="https://git.example.com/$(touch${IFS}/tmp/x)'; id; '.git",
    command=["starman", "{listen}", "a b", "$(id)", "'", "`id`\nid", "{unknown}"],
    psgi="it's $HOME.psgi",
    health_path="/health?a=1&b=$(id)'",
)

SCRIPTS = sorted(str(path.relative_to(AGENT_DIRECTORY)) for path in AGENT_DIRECTORY.rglob("*.sh"))


def start_of_app(release: Release) -> str:
    """The start script as the deploy script would write it."""
    script = assignments(deploy_program(release)["settings"])
    return subprocess.run(
        ["bash", "-c", f"{script}\nprintf '%s' \"$start_text\""], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("name", [*SCRIPTS, "app's start"])
def test_shellcheck_finds_nothing(name: str) -> None:
    text = (AGENT_DIRECTORY / name).read_text() if name in SCRIPTS else start_of_app(RELEASE)
    found = subprocess.run(
        ["shellcheck", "--external-sources", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=AGENT_DIRECTORY / "droplet",
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("release", [RELEASE, HOSTILE])
def test_command_of_the_server_is_these_words(release: Release, tmp_path: Path) -> None:
    """Run the start script with a server that prints its arguments instead of serving."""
    server = tmp_path / "local/bin/starman"
    server.parent.mkdir(parents=True)
    server.write_text('#!/bin/bash\nprintf \'%s\\0\' "$PWD" "$BLUEGREEN_PSGI" "$@"\n', encoding="utf-8")
    server.chmod(0o755)
    start = tmp_path / ".bluegreen/start"
    start.parent.mkdir()
    start.write_text(start_of_app(release), encoding="utf-8")
    start.chmod(0o755)
    current = tmp_path / "current"
    current.symlink_to(".")
    words = (
        subprocess.run([current / ".bluegreen/start"], capture_output=True, check=True)
        .stdout.decode()
        .split("\0")
    )
    values = {"{listen}": "10.0.0.5:8080", "{workers}": "8", "{psgi}": ".bluegreen/revision.psgi"}
    expected = [values.get(word, word) for word in release.command[1:]]
    assert words == [str(tmp_path), release.psgi, *expected, ""]


@pytest.mark.parametrize(
    ("environment", "modes"),
    [
        ({}, ["production"] * 3),
        ({"PLACK_ENV": "staging"}, ["staging"] * 3),
        ({"MOJO_MODE": "demo", "DANCER_ENVIRONMENT": "eu"}, ["production", "demo", "eu"]),
    ],
)
def test_app_runs_for_production_unless_its_environment_says_otherwise(
    environment: dict[str, str], modes: list[str], tmp_path: Path
) -> None:
    server = tmp_path / "local/bin/starman"
    server.parent.mkdir(parents=True)
    server.write_text('#!/bin/bash\necho "$PLACK_ENV" "$MOJO_MODE" "$DANCER_ENVIRONMENT"\n', encoding="utf-8")
    server.chmod(0o755)
    (tmp_path / ".bluegreen").mkdir()
    start = tmp_path / ".bluegreen/start"
    start.write_text(start_of_app(RELEASE), encoding="utf-8")
    done = subprocess.run(["bash", start], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == modes


def test_job_is_named_after_app_and_revision() -> None:
    assert deploy_unit("my_perl_app", REVISION) == UNIT


@pytest.mark.parametrize("app", ["", "a b", "../x", "a;id", "A", "a" * 40, "my-app"])
def test_app_that_is_none_is_refused(app: str) -> None:
    with pytest.raises(ValueError, match="not an app's id"):
        deploy_unit(app, REVISION)
    with pytest.raises(ValueError, match="not an app's id"):
        deploy_program(replace(RELEASE, app=app))


@pytest.mark.parametrize(
    "revision", ["", "main", REVISION.upper(), REVISION + "0", REVISION[:12], "../" * 13 + "x"]
)
def test_revision_that_is_none_is_refused(revision: str) -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        deploy_program(replace(RELEASE, revision=revision))


def test_service_waits_longer_than_the_longest_request() -> None:
    unit = service_unit(replace(RELEASE, stop_timeout=300))
    assert "TimeoutStopSec=310\n" in unit
    assert "KillSignal=SIGQUIT\n" in unit
    assert "User=app-my_perl_app\n" in unit


def test_cause_is_the_last_one_told() -> None:
    lines = ["building", "bluegreen: line 7 failed", "more", "bluegreen: No space left", "Killed"]
    assert failure_cause(lines) == "No space left"
    assert failure_cause(["Killed"]) == ""
