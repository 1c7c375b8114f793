"""Real servers, as the presets run them; those that this machine does not have are skipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.served_release import REVISION, ServedRelease, skip_unless_installed
from tests.unit.websockets import echoed, opened

PSGI_PRESETS = ("starman", "starlet", "twiggy", "uwsgi")
PRESETS = (*PSGI_PRESETS, "mojolicious")


def release_of(preset: str, directory: Path, more: str = "") -> ServedRelease:
    skip_unless_installed(preset)
    script = "\nscript: script/app" if preset == "mojolicious" else ""
    return ServedRelease.made(directory / "release", f"preset: {preset}\nworkers: 2{script}\n{more}")


def revisions(answer: str) -> list[str]:
    head = answer.partition("\r\n\r\n")[0]
    return re.findall(r"(?im)^x-revision: (.*?)\r?$", head)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_answer_names_its_revision(tmp_path: Path, preset: str) -> None:
    release = release_of(preset, tmp_path)
    asked = [("GET", "/", 200), ("HEAD", "/", 200), ("GET", "/404", 404), ("GET", "/dies", 500)]
    asked += [
        ("GET", "/redirect", 302),
        ("GET", "/delayed", 200),
        ("GET", "/streamed", 200),
        ("GET", "/own", 200),
    ]
    if preset != "mojolicious":
        asked += [("GET", "/dies-late", 500)]
    with release.running():
        answers = {(method, path): release.ask(path, method=method) for method, path, _ in asked}
    assert {key: (answer.split()[1], revisions(answer)) for key, answer in answers.items()} == {
        (method, path): (str(status), [REVISION]) for method, path, status in asked
    }


def test_a_websocket_names_its_revision_when_it_opens_and_then_carries_messages(tmp_path: Path) -> None:
    release = release_of("mojolicious", tmp_path)
    with release.running(), opened(release) as (connection, head):
        assert head.startswith("HTTP/1.1 101 ")
        assert revisions(head) == [REVISION]
        assert echoed(connection)


def test_mojolicious_sees_the_scheme_and_the_address_of_the_client(tmp_path: Path) -> None:
    release = release_of("mojolicious", tmp_path)
    headers = ["X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.7", "Connection: close"]
    with release.running():
        assert "https://shop/ 203.0.113.7" in release.ask("/scheme", headers)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("variables", "psgi", "script"),
    [
        ({}, "production production production", "- production"),
        ({"PLACK_ENV": "staging"}, "staging staging staging", "- staging"),
        ({"MOJO_MODE": "x"}, "production x production", "- x"),
        ({"DANCER_ENVIRONMENT": "x"}, "production production x", "- production"),
    ],
)
def test_an_app_runs_in_production_unless_its_environment_names_another_mode(
    tmp_path: Path, preset: str, variables: dict[str, str], psgi: str, script: str
) -> None:
    release = release_of(preset, tmp_path)
    with release.running(**variables):
        body = release.ask("/modes").partition("\r\n\r\n")[2]
    assert (script if preset == "mojolicious" else psgi) in body


@pytest.mark.parametrize("preset", PRESETS)
def test_an_app_in_a_subdirectory_is_loaded_and_served_with_its_own_modules(
    tmp_path: Path, preset: str
) -> None:
    release = release_of(preset, tmp_path, "root: backend\nlib: [modules]")
    assert release.load().returncode == 0
    with release.running():
        answer = release.ask("/inc")
    assert f"{release.directory}/backend/modules\n{release.directory}/backend/local/lib/perl5" in answer
    assert revisions(answer) == [REVISION]


@pytest.mark.parametrize("preset", PRESETS)
def test_an_app_that_does_not_compile_does_not_load_and_perl_says_why(tmp_path: Path, preset: str) -> None:
    release = release_of(preset, tmp_path)
    assert release.load().returncode == 0
    file = "script/app" if preset == "mojolicious" else "app.psgi"
    (release.directory / file).write_text("use strict;\nmy $price = ;\n")
    loaded = release.load()
    assert loaded.returncode not in (0, None)
    assert re.search(rf"syntax error at {release.directory}/{file} line 2", loaded.stderr)


@pytest.mark.parametrize("preset", ["starman", "starlet", "twiggy"])
def test_a_release_without_its_server_does_not_load(tmp_path: Path, preset: str) -> None:
    release = ServedRelease.made(tmp_path / "release", f"preset: {preset}")
    handlers = tmp_path / "missing/Plack/Handler"
    handlers.mkdir(parents=True)
    (handlers / f"{preset.capitalize()}.pm").write_text("die qq{it is missing\\n};")
    loaded = release.load(PERL5OPT=f"-I{tmp_path}/missing")
    assert loaded.returncode != 0
    assert "it is missing" in loaded.stderr
