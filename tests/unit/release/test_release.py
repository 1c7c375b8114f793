"""What the builder and every droplet are asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.droplet.messages import Started
from agent.protocol import Configuration, SentFile
from bluegreen.release.cage import CAGE
from bluegreen.release.release import (
    build_program,
    build_unit,
    deploy_program,
    deploy_unit,
    failure_cause,
    load_request,
    pairing,
    restore_program,
    service_unit,
)
from bluegreen.settings.app_file import load_app
from bluegreen.settings.build import BuildSettings
from bluegreen.settings.delivered_files import DeliveredFile

REVISION = "0123456789abcdef0123456789abcdef01234567"
RELEASE = f"{REVISION}-{'d' * 16}"
DIGEST, CONFIGURED = "d" * 64, "c" * 64
UNIT = "bluegreen-app-my_perl_app-0123456789ab"
ADDRESS = "10.0.0.5"
SOURCE: SentFile = {"name": "source.tar.gz", "sha256": "5" * 64, "size": 100}
CONFIGURATION: Configuration = {"digest": CONFIGURED, "salt": "5" * 64, "variables": {"A": "1"}, "files": []}
APP = load_app("my_perl_app")


def steps(program: Any) -> dict[str, dict[str, Any]]:
    """The requests by their verbs, after their way as JSON."""
    return {one["verb"]: one["request"] for one in json.loads(json.dumps(program))["steps"]}


LOGIN = {"login": "me", "password": "s3cret"}


def test_a_build_has_everything_that_the_settings_say_of_it() -> None:
    app = APP.model_copy(
        update={
            "build": BuildSettings.model_validate({"commands": [["npm", "run", "it's"]], "network": True}),
            "shared": ("log",),
            "files": (
                DeliveredFile.model_validate({"path": "db.yaml", "content_from": {"template": "db.tmpl"}}),
            ),
        }
    )
    [(verb, request)] = steps(build_program(app, REVISION, 1_700_000_000, SOURCE, LOGIN)).items()
    assert verb == "build"
    assert request["unit"] == "bluegreen-app-my_perl_app-build-0123456789ab"
    assert (request["revision"], request["committed"]) == (REVISION, 1_700_000_000)
    assert (request["source"], request["credentials"]) == (SOURCE, LOGIN)
    assert request["user"] == "build-my_perl_app"
    assert (request["commands"], request["network"]) == ([["npm", "run", "it's"]], True)
    assert request["links"] == {
        "log": "/var/lib/app-my_perl_app/shared/log",
        "db.yaml": "/etc/app-my_perl_app/db.yaml",
    }
    assert request["dependencies"]["installer"] == app.dependencies.installer
    assert request["cage"] == list(CAGE)


def test_a_deploy_installs_loads_and_activates_in_one_job_of_one_name() -> None:
    program = deploy_program(APP, RELEASE, DIGEST, SOURCE, CONFIGURATION, ADDRESS, "f" * 64)
    found = steps(program)
    assert list(found) == ["install", "load", "activate"]
    for request in found.values():
        assert (request["app"], request["unit"]) == ("app-my_perl_app", UNIT)
        assert request["release"] == RELEASE
    assert found["install"]["configuration"] == CONFIGURATION
    assert (found["install"]["artifact"], found["install"]["digest"]) == (SOURCE, DIGEST)
    assert found["activate"]["configuration"] == CONFIGURED
    assert found["activate"]["kept"] == "f" * 64


def test_a_rollback_asks_for_what_was_healthy_and_for_nothing_that_the_settings_say() -> None:
    started: Started = {"release": RELEASE, "configuration": CONFIGURED, "pairing": "e" * 64}
    found = steps(restore_program(APP, started, ""))
    assert found == {
        "restore": {**started, "app": "app-my_perl_app", "unit": UNIT, "kept": "", "keep": 5},
    }


def test_the_pairing_differs_with_whatever_the_unit_is_made_from() -> None:
    server = APP.server.model_copy(update={"workers": 7})
    made = [
        pairing(APP, RELEASE, CONFIGURED, ADDRESS),
        pairing(APP, RELEASE, "e" * 64, ADDRESS),
        pairing(APP, f"{REVISION}-{'e' * 16}", CONFIGURED, ADDRESS),
        pairing(APP, RELEASE, CONFIGURED, "10.0.0.6"),
        pairing(APP.model_copy(update={"server": server}), RELEASE, CONFIGURED, ADDRESS),
    ]
    assert len({one.digest for one in made}) == len(made)


def test_no_secret_is_in_the_unit_or_in_what_loads_the_release() -> None:
    configuration: Configuration = {**CONFIGURATION, "variables": {"A": "hunter2"}}
    program = deploy_program(APP, RELEASE, DIGEST, None, configuration, ADDRESS, "")
    found = steps(program)
    assert found["install"]["configuration"]["variables"] == {"A": "hunter2"}
    assert "hunter2" not in json.dumps([found["load"], found["activate"]])


def test_what_loads_is_the_release_itself_with_the_environment_of_its_service() -> None:
    request = load_request(APP, UNIT, RELEASE, CONFIGURED, ADDRESS)
    assert f"/opt/app-my_perl_app/releases/{RELEASE}" in " ".join(request["command"])
    assert any(CONFIGURED in one for one in request["properties"])
    assert request["timeout"] == APP.server.load_timeout


def test_the_service_listens_on_its_droplets_address_and_outlasts_the_longest_request() -> None:
    server = APP.server.model_copy(update={"stop_timeout": 300})
    unit = service_unit(APP.model_copy(update={"server": server}), RELEASE, CONFIGURED, ADDRESS)
    assert f"{ADDRESS}:8080" in unit
    assert "310" in unit


@pytest.mark.parametrize("app", ["", "a b", "../x", "a;id", "A", "a" * 40, "my-app"])
def test_an_app_that_is_none_is_refused(app: str) -> None:
    for unit in (build_unit, deploy_unit):
        with pytest.raises(ValueError, match="not an app's id"):
            unit(app, REVISION)


@pytest.mark.parametrize(
    "revision", ["", "main", REVISION.upper(), REVISION + "0", REVISION[:12], "../" * 13 + "x"]
)
def test_a_revision_that_is_none_is_refused(revision: str) -> None:
    for unit in (build_unit, deploy_unit):
        with pytest.raises(ValueError, match="40 hex digits"):
            unit("shop", revision)


@pytest.mark.parametrize("release", ["", REVISION, f"{RELEASE}/..", f"{RELEASE}\n", RELEASE.upper()])
def test_a_release_that_is_none_is_refused(release: str) -> None:
    with pytest.raises(ValueError, match=r"not the name of a release|40 hex digits"):
        pairing(APP, release, CONFIGURED, ADDRESS)


def test_the_cause_is_the_last_one_that_was_given() -> None:
    lines = ["building", "bluegreen: line 7 failed", "more", "bluegreen: No space left", "Killed"]
    assert failure_cause(lines) == "No space left"
    assert failure_cause(["Killed"]) == ""
