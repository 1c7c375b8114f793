"""Whether a droplet's configuration is as it was delivered, without a value of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.droplet.configuration import install_configuration
from agent.facts.configuration import configuration_in_use
from bluegreen.release.service_unit import ServiceUnit
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet, configuration

WANTED = configuration({"PASSWORD": "hunter22"}, {"tls/key.pem": (b"secret\n", 0o640)})
CHANGED = "its files are not as they were delivered"


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDroplet:
    """A droplet whose service runs with a configuration."""
    droplet = LocalDroplet(tmp_path, monkeypatch)
    install_configuration(droplet.app, WANTED)
    unit = ServiceUnit(
        system_name=APP,
        release=droplet.release,
        configuration=WANTED["digest"],
        directory=f"/opt/{APP}/releases/{droplet.release}",
        environment={"PLACK_ENV": "production"},
        command=["starman"],
        stop_signal="SIGQUIT",
        stop_timeout=10,
        memory_max=None,
        delivers_files=True,
    ).text
    # Its paths are those of a droplet, and this one is in a directory.
    droplet.unit.write_text(unit.replace("/var/lib/bluegreen", f"{droplet.path}/var/lib/bluegreen"))
    return droplet


def test_the_configuration_in_use_is_the_one_that_the_unit_names(droplet: LocalDroplet) -> None:
    assert configuration_in_use(droplet.app) == {"digest": WANTED["digest"], "problem": None}


@pytest.mark.parametrize("unit", [None, "", "[Service]\nEnvironmentFile=-/etc/default/app-shop\n"])
def test_a_unit_that_names_no_configuration_has_none(droplet: LocalDroplet, unit: str | None) -> None:
    droplet.unit.unlink() if unit is None else droplet.unit.write_text(unit)
    assert configuration_in_use(droplet.app) is None


@pytest.mark.parametrize(
    "path", ["environment", "salt", "files/tls/key.pem", "files/added", "files/tls/added"]
)
def test_what_was_changed_by_hand_is_noticed_and_not_shown(droplet: LocalDroplet, path: str) -> None:
    file = droplet.app.configurations / WANTED["digest"] / path
    file.write_text("PASSWORD=other\n")
    found = configuration_in_use(droplet.app)
    assert found == {"digest": WANTED["digest"], "problem": CHANGED}


def test_a_mode_that_was_changed_by_hand_is_noticed(droplet: LocalDroplet) -> None:
    (droplet.app.configurations / WANTED["digest"] / "files/tls/key.pem").chmod(0o644)
    found = configuration_in_use(droplet.app)
    assert found == {"digest": WANTED["digest"], "problem": CHANGED}


def test_a_configuration_that_is_gone_is_named(droplet: LocalDroplet) -> None:
    (droplet.app.configurations / WANTED["digest"]).rename(droplet.path / "away")
    found = configuration_in_use(droplet.app)
    assert found == {"digest": WANTED["digest"], "problem": "it is not there"}
