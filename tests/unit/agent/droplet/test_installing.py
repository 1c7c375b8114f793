"""The bytes that were built, and no others, become a release on a droplet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import installing
from agent.droplet.configuration import digest_on_disk
from agent.droplet.installing import install
from agent.droplet.manifest import first_difference
from agent.protocol import AgentError, Code, SentFile, Verb
from tests.unit.agent.droplet.built_release import APP
from tests.unit.agent.droplet.local_droplet import LocalDroplet, about, configuration
from tests.waiting import until

WANTED = configuration({"A": "1"}, {"config.yaml": (b"a: 1\n", 0o640)})


class Droplet(LocalDroplet):
    """A droplet that is asked to install the release."""

    def install(self, artifact: SentFile | None, **changes: Any) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "release": self.release,
            "digest": self.built.digest,
            "artifact": artifact,
            "configuration": WANTED,
            "packages": [],
            "perl": "/usr/bin/perl",
        }
        return install(Call.of(Verb.INSTALL), about(**{**wanted, **changes}))

    def refusal(self, artifact: SentFile | None, **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.install(artifact, **changes)
        return raised.value

    @property
    def names(self) -> set[str]:
        """What is among the releases."""
        return {path.name for path in self.app.releases.iterdir()}


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    droplet = Droplet(tmp_path, monkeypatch)
    droplet.app.releases.mkdir()
    return droplet


def test_a_release_and_its_configuration_are_installed(droplet: Droplet) -> None:
    assert droplet.install(droplet.send()) == {"unpacked": True}
    assert droplet.names == {droplet.release}
    assert first_difference(droplet.app.releases / droplet.release, APP, droplet.built.digest) is None
    assert digest_on_disk(droplet.app.configurations / WANTED["digest"]) == WANTED["digest"]


def test_a_release_that_is_there_already_needs_no_artifact(droplet: Droplet) -> None:
    droplet.install(droplet.send())
    other = configuration({"A": "2"})
    assert droplet.install(None, configuration=other) == {"unpacked": False}
    assert {path.name for path in droplet.app.configurations.iterdir()} == {WANTED["digest"], other["digest"]}


def test_a_release_that_is_not_there_has_to_be_sent(droplet: Droplet) -> None:
    refused = droplet.refusal(None)
    assert str(refused) == f"the release {droplet.release} is not on this droplet, and was not sent"
    assert droplet.names == set()


def is_earlier(directory: Path, clock: Path) -> bool:
    """Whether what is made now is younger; a file system's clock has a tick of some milliseconds."""
    clock.write_text("")
    return directory.stat().st_ctime_ns < clock.stat().st_ctime_ns


def test_releases_that_were_never_healthy_do_not_pile_up(droplet: Droplet) -> None:
    names = []
    for digit in "123":
        names.append(droplet.put(digit * 40))
        until(lambda: is_earlier(droplet.app.releases / names[-1], droplet.path / "clock"), "time passes")
    running, _, latest = names
    (droplet.app.root / "current").symlink_to(f"releases/{running}")
    droplet.install(droplet.send())
    assert droplet.names == {running, latest, droplet.release}


def change_file(release: Path) -> None:
    (release / "app.psgi").write_text("sub { exit }\n")


def add_file(release: Path) -> None:
    (release / "lib/More.pm").write_text("1;\n")


def remove_file(release: Path) -> None:
    (release / "empty").unlink()


@pytest.mark.parametrize(
    ("change", "path"), [(change_file, "app.psgi"), (add_file, "lib/More.pm"), (remove_file, "empty")]
)
def test_a_release_that_was_changed_on_the_droplet_is_refused_by_the_name_of_the_file(
    droplet: Droplet, change: Callable[[Path], None], path: str
) -> None:
    droplet.install(droplet.send())
    change(droplet.app.releases / droplet.release)
    refused = droplet.refusal(droplet.send())
    assert refused.code is Code.FAILED
    assert path in str(refused)


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


@pytest.mark.parametrize("harm", [cut, flip, link, Path.unlink])
def test_an_artifact_that_is_not_as_it_was_sent_leaves_nothing(
    droplet: Droplet, harm: Callable[[Path], None]
) -> None:
    sent = droplet.send()
    harm(droplet.app.incoming / sent["name"])
    with pytest.raises((AgentError, OSError), match=sent["name"]):
        droplet.install(sent)
    assert droplet.names == set()
    assert not droplet.app.configurations.exists()


def test_an_artifact_of_another_release_leaves_nothing(droplet: Droplet) -> None:
    refused = droplet.refusal(droplet.send(), digest="e" * 64, release=f"{'a' * 40}-{'e' * 16}")
    assert "digest" in str(refused)
    assert droplet.names == set()


def test_a_release_of_another_revision_than_its_name_is_refused(droplet: Droplet) -> None:
    name = f"{'b' * 40}-{droplet.built.digest[:16]}"
    assert (
        str(droplet.refusal(droplet.send(), release=name))
        == f"the artifact is of the release {droplet.release}"
    )
    assert droplet.names == set()


def test_a_release_whose_name_is_of_another_digest_is_no_request(droplet: Droplet) -> None:
    assert droplet.refusal(None, release=f"{'a' * 40}-{'e' * 16}").code is Code.BAD_REQUEST


@pytest.mark.parametrize(
    "artifact",
    [
        {"name": "../x", "sha256": "a" * 64, "size": 1},
        {"name": ".x", "sha256": "a" * 64, "size": 1},
        {"name": "x", "sha256": "a", "size": 1},
        {"name": "x", "sha256": "a" * 64, "size": -1},
        "x",
    ],
    ids=str,
)
def test_what_names_no_file_is_refused(droplet: Droplet, artifact: Any) -> None:
    assert droplet.refusal(artifact).code is Code.BAD_REQUEST


def test_packages_and_room_come_before_anything_is_written(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(packages: list[str]) -> None:
        raise AgentError(Code.FAILED, f"cannot install {packages}")

    monkeypatch.setattr(installing, "install_packages", fails)
    assert str(droplet.refusal(droplet.send(), packages=["libpq5"])) == "cannot install ['libpq5']"
    monkeypatch.setattr("agent.droplet.reserve.free_mb", lambda _: 3)
    assert "3 MB are free" in str(droplet.refusal(droplet.send()))
    assert droplet.names == set()


def test_a_release_of_another_perl_is_refused(droplet: Droplet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "perl_key", lambda _: "5.40.1 x86_64\nglibc 2.41")
    built_with = droplet.built.manifest.perl.replace("\n", ", ")
    assert str(droplet.refusal(droplet.send())) == (
        f"the release was built with perl {built_with}, and this droplet has perl 5.40.1 x86_64, glibc 2.41: "
        "give the droplets of a color the same image and Debian packages"
    )
    assert not droplet.app.configurations.exists()


def test_a_droplet_without_the_app_s_user_says_so(droplet: Droplet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pwd.getpwnam", lambda name: {}[name])
    assert str(droplet.refusal(droplet.send())) == "the user app-shop does not exist on this droplet"


def test_the_app_s_user_makes_the_directories_that_the_release_shares(droplet: Droplet) -> None:
    droplet.install(droplet.send())
    words = (droplet.read("run-shared") or "").splitlines()
    assert words[-6:] == ["/usr/bin/mkdir", "-p", "-m", "0750", "--", f"/var/lib/{APP}/shared/log"]
    assert {
        f"--property=User={APP}",
        f"--property=StateDirectory={APP}",
        "--property=StateDirectoryMode=0700",
    } <= set(words)
    (droplet.path / "status").write_text("1")
    (droplet.path / "output").write_text("mkdir: cannot create directory: File exists\n")
    assert str(droplet.refusal(None)) == (
        "the shared directories cannot be made: mkdir: cannot create directory: File exists"
    )
