"""The agent takes what a deploy and a rollback send, on a droplet of the test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet.job import job
from agent.protocol import Program, Verb
from bluegreen.release.configuration import Secrets, make_configuration
from bluegreen.release.release import deploy_program, service_unit, start_program
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.delivered_files import DeliveredFile
from tests.unit.agent.droplet.local_droplet import SALT, LocalDroplet

FILE = {"path": "/etc/app-shop/tls.pem", "content_from": {"connection": "tls"}, "mode": "0440"}
SECRETS = Secrets({"PASSWORD": 'it\'s "$HOME" \\ %n\nand more'}, {"tls": "a key\n"})


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDroplet:
    monkeypatch.setattr(activation, "problem_of", lambda _service: None)
    return LocalDroplet(tmp_path, monkeypatch)


@pytest.fixture
def app() -> App:
    files = [DeliveredFile.model_validate(FILE)]
    return load_app("my_perl_app").model_copy(
        update={"id": "shop", "files": files, "environment": {"MODE": "eu"}}
    )


def do(program: Program) -> None:
    """Run a job, after the way of its program as JSON."""
    sent: dict[str, Any] = json.loads(json.dumps(program))
    job(Call.of(Verb.JOB), sent)


def test_a_release_is_deployed_and_later_started_again_as_it_was(droplet: LocalDroplet, app: App) -> None:
    configuration = make_configuration(app, SECRETS, {}, SALT)
    artifact, digest = droplet.send(), droplet.built.digest
    do(deploy_program(app, droplet.release, digest, artifact, configuration, "10.0.0.5", None))
    unit = service_unit(app, droplet.release, configuration["digest"], "10.0.0.5")
    assert droplet.current == droplet.release
    assert droplet.read("running") == droplet.unit.read_text() == unit
    started = start_program(app, droplet.release, configuration["digest"], "10.0.0.5", "b" * 40)
    do(started)
    assert droplet.read("running") == unit
