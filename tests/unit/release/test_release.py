"""The scripts for a droplet, as they are rendered, and what those of a release answer, as it is parsed."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bluegreen.release.jobs import Claim, claim_script, clean_script, poll_script, start_script
from bluegreen.release.lifecycle_commands import hook_script
from bluegreen.release.release import (
    Release,
    ReleaseError,
    deploy_script,
    deploy_unit,
    facts_script,
    failure_cause,
    parse_facts,
    service_unit,
)
from bluegreen.release.stop_idle import stop_script
from bluegreen.settings.hooks import Hook

REVISION = "0123456789abcdef0123456789abcdef01234567"
UNIT = "bluegreen-app-my_perl_app-0123456789ab"

RELEASE = Release(
    app="my_perl_app",
    repository="https://git.example.com/my_perl_app.git",
    revision=REVISION,
    listen_address="10.0.0.5",
    port=8080,
    workers=8,
    command=["starman", "--listen", "{listen}", "--workers", "{workers}", "--disable-keepalive", "{psgi}"],
)

HOSTILE = replace(
    RELEASE,
    repository="https://git.example.com/$(touch${IFS}/tmp/x)'; id; '.git",
    command=["starman", "{listen}", "a b", "$(id)", "'", "`id`\nid", "{unknown}"],
    psgi="it's $HOME.psgi",
    health_path="/health?a=1&b=$(id)'",
)

CLAIM = Claim("my_perl_app", 1795403984)

SCRIPTS = {
    "deploy": deploy_script(RELEASE),
    "deploy, hostile": deploy_script(HOSTILE),
    "start": start_script(unit=UNIT, run_id="manual__2026-11-23T03:00:00+00:00", script="id\n", timeout=900),
    "start, hostile": start_script(
        unit=UNIT, run_id="'; id; '$(id)", script=deploy_script(HOSTILE), timeout=9
    ),
    "start, claimed": start_script(unit=UNIT, run_id="run-1", script="id\n", timeout=900, claim=CLAIM),
    "claim": claim_script(CLAIM),
    "poll": poll_script(app="my_perl_app", unit=UNIT, cursor=63),
    "poll, first": poll_script(app="my_perl_app", unit=UNIT),
    "clean": clean_script(unit=UNIT),
    "clean, claimed": clean_script(unit=UNIT, claim=CLAIM),
    "stop": stop_script(CLAIM),
    "facts": facts_script("my_perl_app"),
    "hook": hook_script(
        "my_perl_app", "unit", Hook(command=["bin/warm-up", "'; id; '"]), "a" * 40, {"REF": "$(id)"}
    ),
}


def start_of_app(release: Release) -> str:
    """The start script as the deploy script would write it."""
    script = deploy_script(release)
    assignments = script[script.index("\nstart_text=") : script.index("\nwrapper_text=")]
    return subprocess.run(
        ["bash", "-c", f"{assignments}\nprintf '%s' \"$start_text\""],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
@pytest.mark.parametrize("name", [*SCRIPTS, "app's start"])
def test_shellcheck_finds_nothing(name: str) -> None:
    script = SCRIPTS.get(name) or start_of_app(RELEASE)
    found = subprocess.run(
        ["shellcheck", "--shell=bash", "-"], input=script, capture_output=True, text=True, check=False
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
        facts_script(app)


@pytest.mark.parametrize(
    "revision", ["", "main", REVISION.upper(), REVISION + "0", REVISION[:12], "../" * 13 + "x"]
)
def test_revision_that_is_none_is_refused(revision: str) -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        deploy_script(replace(RELEASE, revision=revision))


def test_service_waits_longer_than_the_longest_request() -> None:
    unit = service_unit(replace(RELEASE, longest_request=300))
    assert "TimeoutStopSec=310\n" in unit
    assert "KillSignal=SIGQUIT\n" in unit
    assert "User=app-my_perl_app\n" in unit


def test_cause_is_the_last_one_told() -> None:
    lines = ["building", "bluegreen: line 7 failed", "more", "bluegreen: No space left", "Killed"]
    assert failure_cause(lines) == "No space left"
    assert failure_cause(["Killed"]) == ""


FACTS = f"""\
revision={REVISION}
service=active
main_pid=234
disk_free_mb=506
inodes_free=70000
perl=5.36.0
carton=1.0.35
git=2.39.5
release={"f" * 40}
release={REVISION}
end=
"""


def test_facts() -> None:
    facts = parse_facts(FACTS)
    assert (facts.revision, facts.service, facts.main_pid) == (REVISION, "active", 234)
    assert (facts.disk_free_mb, facts.inodes_free) == (506, 70000)
    assert parse_facts(FACTS.replace("=70000", "=")).inodes_free is None
    assert facts.versions == {"perl": "5.36.0", "carton": "1.0.35", "git": "2.39.5"}
    assert facts.missing_users == ()
    assert facts.releases == (REVISION, "f" * 40)


def test_facts_of_a_bare_droplet() -> None:
    output = FACTS.replace(f"revision={REVISION}", "revision=").replace("main_pid=234", "main_pid=0")
    output = output.replace("carton=1.0.35", "carton=").replace(
        "end=", "missing_user=deploy\nmissing_user=x\nend="
    )
    facts = parse_facts(output)
    assert (facts.revision, facts.main_pid, facts.versions["carton"]) == (None, None, None)
    assert facts.missing_users == ("deploy", "x")


@pytest.mark.parametrize(
    "output", ["", FACTS[:-5], FACTS.replace("disk_free_mb=506\n", ""), FACTS.replace("=234", "=x")]
)
def test_facts_that_are_not_whole(output: str) -> None:
    with pytest.raises(ReleaseError, match="not whole"):
        parse_facts(output)
