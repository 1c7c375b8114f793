"""A configuration arrives on a droplet byte for byte, whole or not at all, and readable by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.droplet import configuration as module
from agent.droplet.configuration import digest_on_disk, environment_text, install_configuration
from agent.droplet.mask import environment_in
from agent.protocol import AgentError, Code
from tests.unit.agent.droplet.local_droplet import LocalDroplet, configuration
from tests.unit.nasty_values import NASTY_VALUES

FILES = {
    "db.yaml": (b"password: hunter22\n", 0o640),
    "tls/site/key.pem": (b"-----BEGIN\n\x00\xff\n", 0o600),
    "run.sh": (b"#!/bin/sh\n", 0o750),
}


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalDroplet:
    return LocalDroplet(tmp_path, monkeypatch)


def test_every_character_of_a_value_is_read_back_as_systemd_reads_it() -> None:
    variables = {f"VALUE_{number}": value for number, value in enumerate(NASTY_VALUES)}
    assert len(variables) >= 30
    assert environment_in(environment_text(variables)) == variables


def test_a_configuration_is_there_as_it_was_sent(droplet: LocalDroplet) -> None:
    wanted = configuration({"A": "1", "B": 'x"$y\\z'}, FILES)
    directory = install_configuration(droplet.app, wanted)
    assert directory == droplet.app.configurations / wanted["digest"]
    assert digest_on_disk(directory) == wanted["digest"]
    assert (directory / "environment").read_text() == 'A="1"\nB="x\\"\\$y\\\\z"\n'
    for path, (data, mode) in FILES.items():
        file = directory / "files" / path
        assert (file.read_bytes(), file.stat().st_mode & 0o7777) == (data, mode)
    assert [path.name for path in droplet.app.configurations.iterdir()] == [wanted["digest"]]
    assert (droplet.path / "etc/app-shop").is_dir()


def test_nobody_but_root_and_the_app_s_group_may_read_a_configuration(droplet: LocalDroplet) -> None:
    directory = install_configuration(droplet.app, configuration({"A": "1"}, FILES))
    for name, mode in (
        ("environment", 0o600),
        ("salt", 0o600),
        ("files", 0o750),
        ("files/tls", 0o750),
        (".", 0o700),
    ):
        assert (directory / name).stat().st_mode & 0o7777 == mode


def test_without_delivered_files_the_directory_of_people_is_left_alone(droplet: LocalDroplet) -> None:
    install_configuration(droplet.app, configuration({"A": "1"}))
    assert not (droplet.path / "etc/app-shop").exists()


def spoil_variable(directory: Path) -> None:
    (directory / "environment").write_text("A=2\n")


def spoil_file(directory: Path) -> None:
    (directory / "files/db.yaml").write_bytes(b"")


def spoil_mode(directory: Path) -> None:
    (directory / "files/db.yaml").chmod(0o644)


def add_file(directory: Path) -> None:
    (directory / "files/more").write_bytes(b"")


def add_link(directory: Path) -> None:
    (directory / "files/link").symlink_to("/etc")


def remove_salt(directory: Path) -> None:
    (directory / "salt").unlink()


@pytest.mark.parametrize("spoil", [spoil_variable, spoil_file, spoil_mode, add_file, add_link, remove_salt])
def test_a_configuration_that_a_hand_has_changed_is_noticed_and_replaced(
    droplet: LocalDroplet, spoil: object
) -> None:
    assert callable(spoil)
    wanted = configuration({"A": "1"}, FILES)
    directory = install_configuration(droplet.app, wanted)
    untouched = directory.stat().st_ino
    assert install_configuration(droplet.app, wanted).stat().st_ino == untouched
    spoil(directory)
    assert digest_on_disk(directory) != wanted["digest"]
    install_configuration(droplet.app, wanted)
    assert digest_on_disk(directory) == wanted["digest"]
    assert [path.name for path in droplet.app.configurations.iterdir()] == [wanted["digest"]]


def test_a_configuration_of_another_digest_is_refused_without_a_value(droplet: LocalDroplet) -> None:
    wanted = configuration({"PIN": "1234"})
    wanted["variables"]["PIN"] = "9876"
    with pytest.raises(AgentError, match="its digest is") as refused:
        install_configuration(droplet.app, wanted)
    assert refused.value.code is Code.BAD_REQUEST
    assert "9876" not in str(refused.value)
    assert not droplet.app.configurations.exists()


def test_what_cannot_be_written_as_it_is_never_becomes_a_configuration(
    droplet: LocalDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "environment_text", lambda _: "")
    with pytest.raises(AgentError, match="cannot be written as it is"):
        install_configuration(droplet.app, configuration({"A": "1"}))
    assert not any(".partial." not in path.name for path in droplet.app.configurations.iterdir())


def test_a_droplet_without_the_app_s_group_says_so(
    droplet: LocalDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grp.getgrnam", lambda name: {}[name])
    with pytest.raises(AgentError, match="the group app-shop does not exist on this droplet"):
        install_configuration(droplet.app, configuration({"A": "1"}))
