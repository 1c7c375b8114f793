"""A rollback starts exactly what was confirmed: its bytes, its configuration, its unit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet.activated import Activated, Pairing
from agent.droplet.configuration import install_configuration
from agent.droplet.health import Service
from agent.droplet.installing import install
from agent.droplet.restoring import restore
from agent.protocol import AgentError, Code, Verb
from tests.unit.agent.droplet.local_droplet import LocalDroplet, about, configuration

CONFIRMED = configuration({"PASSWORD": "old"}, {"config.yaml": (b"a: 1\n", 0o640)})
REJECTED = configuration({"PASSWORD": "new"})
ASKED: dict[str, Any] = {
    "address": "127.0.0.1",
    "port": 5000,
    "path": "/old-health",
    "host": "shop.example.com",
    "https": True,
    "statuses": [200, 401],
    "healthy_threshold": 3,
    "timeout": 2,
}


class Droplet(LocalDroplet):
    """A droplet with a release that was confirmed, and then started with another configuration."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(path, monkeypatch)
        self.app.releases.mkdir()
        self.confirmed = self.pairing(CONFIRMED["digest"], "workers 5")
        rejected = self.pairing(REJECTED["digest"], "workers 50")
        for wanted in (CONFIRMED, REJECTED):
            request = {
                "digest": self.built.digest,
                "artifact": self.send(),
                "packages": [],
                "perl": "/usr/bin/perl",
            }
            install(Call.of(Verb.INSTALL), about(release=self.release, configuration=wanted, **request))
        Activated(self.app).record(self.confirmed, ASKED)
        Activated(self.app).record(rejected, {**ASKED, "port": 8080})
        for place in (self.unit, self.path / "loaded", self.path / "running"):
            place.write_text(rejected.unit_text)
        self.before = rejected.unit_text

    def pairing(self, digest: str, settings: str) -> Pairing:
        text = f"WorkingDirectory=/opt/app-shop/releases/{self.release}\n"
        return Pairing(self.release, digest, f"{text}EnvironmentFile=/x/{digest}/environment\n# {settings}\n")

    def restore(self, **changes: Any) -> Any:
        wanted = {**self.confirmed.as_json, "kept": self.confirmed.digest, "keep": 5}
        return restore(Call.of(Verb.RESTORE), about(**{**wanted, **changes}))

    def refusal(self, **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.restore(**changes)
        return raised.value


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    return Droplet(tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Service]:
    """Every service is healthy; return how they were asked."""
    asked: list[Service] = []

    def problem_of(service: Service) -> str:
        asked.append(service)
        return ""

    monkeypatch.setattr(activation, "problem_of", problem_of)
    return asked


def test_the_confirmed_unit_runs_again_whatever_was_started_with_the_same_release_since(
    droplet: Droplet, asked: list[Service]
) -> None:
    assert droplet.restore() == droplet.confirmed.as_json
    assert droplet.read("running") == droplet.unit.read_text() == droplet.confirmed.unit_text
    assert (asked[0].port, asked[0].question.path) == (5000, "/old-health")
    found = Activated(droplet.app).all()[0]
    assert (found.pairing, found.confirmed, found.service) == (droplet.confirmed, True, ASKED)


def test_a_rollback_does_not_wait_for_a_worker_that_nothing_can_end(droplet: Droplet) -> None:
    worker = "app-shop-worker@1.service"
    for name in ("units", "stuck"):
        (droplet.path / name).mkdir()
        (droplet.path / name / worker).write_text("active running\n")
    droplet.restore()
    assert droplet.read("running") == droplet.confirmed.unit_text
    assert (droplet.path / "units" / worker).read_text() == "deactivating stop-sigterm\n"


def change_a_file(droplet: Droplet) -> None:
    (droplet.app.releases / droplet.release / "app.psgi").write_text("sub { evil }\n")


def add_a_file(droplet: Droplet) -> None:
    (droplet.app.releases / droplet.release / "lib/Evil.pm").write_text("1;\n")


def change_the_manifest(droplet: Droplet) -> None:
    (droplet.app.releases / droplet.release / ".bluegreen/manifest").write_text("{}\n")


def change_a_variable(droplet: Droplet) -> None:
    (droplet.app.configurations / CONFIRMED["digest"] / "environment").write_text('PASSWORD="evil"\n')


def change_a_delivered_file(droplet: Droplet) -> None:
    (droplet.app.configurations / CONFIRMED["digest"] / "files/config.yaml").write_text("a: 2\n")


def change_the_recorded_release(droplet: Droplet) -> None:
    other = droplet.put("f" * 40)
    for record in (droplet.app.root / "activated").glob("*.*"):
        record.rename(record.with_name(record.name.replace(droplet.release, other)))
    droplet.confirmed = Pairing(other, CONFIRMED["digest"], droplet.confirmed.unit_text)


def change_the_recorded_unit(droplet: Droplet) -> None:
    for record in (droplet.app.root / "activated").glob("*.*"):
        about = json.loads(record.read_text())
        record.write_text(json.dumps({**about, "unit_text": about["unit_text"] + "User=root\n"}))


CHANGED = "; nothing was started, deploy it instead"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (change_a_file, "the release is refused: app.psgi: it is not as it was built"),
        (add_a_file, "the release is refused: lib/Evil.pm: it was added"),
        (change_the_manifest, "the release is refused: its manifest: its digest is"),
        (change_a_variable, f"the configuration {CONFIRMED['digest'][:16]} was changed on this droplet"),
        (
            change_a_delivered_file,
            f"the configuration {CONFIRMED['digest'][:16]} was changed on this droplet",
        ),
        (change_the_recorded_release, "the record of f"),
        (change_the_recorded_unit, "is not on this droplet with the configuration and unit that it had"),
    ],
)
def test_what_was_changed_on_the_droplet_is_not_started(
    droplet: Droplet, change: Callable[[Droplet], None], cause: str
) -> None:
    change(droplet)
    refused = droplet.refusal()
    assert refused.code is Code.FAILED
    assert cause in str(refused)
    assert "\n" not in str(refused)
    assert droplet.read("running") == droplet.unit.read_text() == droplet.before
    assert droplet.told == []


@pytest.mark.parametrize("change", ["release", "configuration", "pairing"])
def test_what_was_never_healthy_there_is_not_started(droplet: Droplet, change: str) -> None:
    other = {"release": droplet.put("e" * 40), "configuration": REJECTED["digest"], "pairing": "e" * 64}
    assert "is not on this droplet with the configuration" in str(droplet.refusal(**{change: other[change]}))
    assert droplet.told == []


def test_a_configuration_that_is_gone_is_no_reason_to_start_another_one(droplet: Droplet) -> None:
    (droplet.app.configurations / CONFIRMED["digest"]).rename(droplet.path / "gone")
    assert "is not on this droplet with the configuration" in str(droplet.refusal())
    install_configuration(droplet.app, CONFIRMED)
    assert droplet.restore() == droplet.confirmed.as_json
