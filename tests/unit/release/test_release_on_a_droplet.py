"""The agent takes what a deploy and a rollback send, on a droplet of the test's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet.health import Service
from agent.droplet.job import job
from agent.droplet.messages import Started
from agent.protocol import Program, Verb
from bluegreen.release.configuration import Secrets, make_configuration
from bluegreen.release.release import deploy_program, pairing, restore_program
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.delivered_files import DeliveredFile
from tests.unit.agent.droplet.local_droplet import SALT, LocalDroplet

FILE = {"path": "/etc/app-shop/tls.pem", "content_from": {"connection": "tls"}, "mode": "0440"}
ADDRESS = "10.0.0.5"
SECRETS = Secrets({"PASSWORD": 'it\'s "$HOME" \\ %n\nand more'}, {"tls": "a key\n"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """How the service is asked, which is always healthy."""
    asked: list[Service] = []
    monkeypatch.setattr(activation, "problem_of", asked.append)
    return asked


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[Service]) -> LocalDroplet:
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


def test_a_release_is_deployed_and_later_started_again_as_it_was(
    droplet: LocalDroplet, app: App, asked: list[Service]
) -> None:
    configuration = make_configuration(app, SECRETS, {}, SALT)
    sent = droplet.release, droplet.built.digest
    do(deploy_program(app, *sent, droplet.send(), configuration, ADDRESS, ""))
    was = pairing(app, droplet.release, configuration["digest"], ADDRESS)
    assert droplet.current == droplet.release
    assert droplet.read("running") == droplet.unit.read_text() == was.unit_text

    # The same release with other secrets, more workers, another port and health path: it is rejected later.
    server = app.server.model_copy(update={"workers": 50, "port": 9090})
    health = app.health.model_copy(update={"path": "/new"})
    later = app.model_copy(update={"server": server, "health": health})
    other = make_configuration(later, Secrets({"PASSWORD": "new"}, {"tls": "key"}), {}, SALT)
    do(deploy_program(later, *sent, None, other, ADDRESS, was.digest))
    assert droplet.read("running") != was.unit_text

    again: Started = {
        "release": was.release,
        "configuration": was.configuration,
        "pairing": was.digest,
    }
    do(restore_program(later, again, was.digest))
    assert droplet.read("running") == droplet.unit.read_text() == was.unit_text
    assert [(one.port, one.question.path) for one in asked] == [
        (app.server.port, app.health.path),
        (9090, "/new"),
        (app.server.port, app.health.path),
    ]
