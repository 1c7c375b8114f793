"""What an app needs is installed from what the repository says, once for the same files."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.droplet import building, dependencies
from agent.protocol import Json
from tests.unit.agent.droplet.builds import Builder, make_builder
from tests.unit.agent.droplet.dependency_builds import (
    CARTON_AND_CPANM,
    NEEDS_PROGRAMS,
    Mirror,
    built,
    files_of,
    installed,
)

pytestmark = NEEDS_PROGRAMS


def earlier_on(builder: Builder, answer: Json, artifact: bytes, **changes: Any) -> Json:
    """Put an artifact that another droplet has built into ``incoming``, and return how a build names it."""
    builder.app.incoming.mkdir(parents=True, exist_ok=True)
    name = "earlier.tar.gz"
    (builder.app.incoming / name).write_bytes(artifact)
    sent = {"name": name, "sha256": hashlib.sha256(artifact).hexdigest(), "size": len(artifact)}
    return {"dependencies": answer["dependencies"], "digest": answer["digest"], "artifact": sent, **changes}


@CARTON_AND_CPANM
def test_dependencies_are_installed_and_not_again_for_the_same_files(
    builder: Builder, mirror: Mirror, installer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of(mirror, "Local::Plain")
    answer = built(builder, mirror, files, dependencies={"installer": installer})
    release = builder.unpacked(answer)
    assert installed(release) == {"Base", "Plain"}
    assert (release / "local/bin/hello").stat().st_mode & 0o777 == 0o755
    assert "dependencies are unchanged" not in capsys.readouterr().out
    mirror.asked.clear()
    again = built(builder, mirror, {**files, "app.psgi": "2;\n"}, dependencies={"installer": installer})
    assert "dependencies are unchanged" in capsys.readouterr().out
    assert mirror.asked == []
    assert installed(builder.unpacked(again, "again")) == {"Base", "Plain"}
    assert builder.leftovers() == []


@CARTON_AND_CPANM
def test_building_twice_without_a_cache_gives_the_same_bytes(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    files = files_of(mirror, "Local::Plain", "Local::Compiled")
    digests = set()
    for _ in range(2):
        shutil.rmtree(builder.app.root / "cache", ignore_errors=True)
        digests.add(built(builder, mirror, files, dependencies={"installer": installer})["digest"])
    assert len(digests) == 1


@CARTON_AND_CPANM
def test_a_changed_set_starts_from_the_tarballs_that_are_there(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    built(builder, mirror, files_of(mirror, "Local::Plain"), dependencies={"installer": installer})
    mirror.asked.clear()
    answer = built(
        builder,
        mirror,
        files_of(mirror, "Local::Plain", "Local::Feature"),
        dependencies={"installer": installer},
    )
    assert installed(builder.unpacked(answer)) == {"Base", "Plain", "Feature"}
    assert not [path for path in mirror.asked if "Plain" in path or "Base" in path]


def test_another_vendored_tarball_makes_another_set(builder: Builder, mirror: Mirror) -> None:
    files = files_of(mirror, "Local::Base")
    for path in mirror.cpan.index.values():
        files[f"vendor/cache/authors/id/{path}"] = (mirror.cpan.directory / "authors/id" / path).read_bytes()
    clean = built(builder, mirror, files)
    path = mirror.cpan.add("Local::Base", evil="poisoned")
    poisoned = {
        **files,
        f"vendor/cache/authors/id/{path}": (mirror.cpan.directory / "authors/id" / path).read_bytes(),
    }
    built(builder, mirror, poisoned)
    assert built(builder, mirror, files) == clean
    assert len([one for one in (builder.app.root / "cache").iterdir() if one.name != "distributions"]) == 2


@CARTON_AND_CPANM
def test_a_program_of_the_repository_finds_only_what_its_dependencies_are_named_by(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    wanted = {"installer": installer}
    built(builder, mirror, files_of(mirror, "Local::Base"), dependencies=wanted)
    [before] = dependencies.sets_in(builder.app.root / "cache")
    files = files_of(mirror, "Local::Plain")
    built(builder, mirror, files, dependencies=wanted, commands=[["true"]])
    hidden = {f"InaccessiblePaths={before}", f"InaccessiblePaths={builder.app.root}/build.partial.d/tree"}
    assert hidden <= set(builder.uncaged.units["dependencies"])
    [now] = dependencies.sets_in(builder.app.root / "cache", before)
    commands = builder.uncaged.units["command"]
    assert f"InaccessiblePaths={before}" in commands
    assert f"InaccessiblePaths={now}" not in commands


def test_commands_find_the_same_home_whether_or_not_dependencies_were_installed(
    builder: Builder, mirror: Mirror
) -> None:
    files = files_of(mirror, "Local::Base", also='open my $f, ">", "$ENV{HOME}/left";\n')
    command = [["sh", "-c", 'ls -A "$HOME" >found']]
    digests = {built(builder, mirror, files, commands=command)["digest"] for _ in range(2)}
    assert len(digests) == 1


def test_dates_that_a_build_gives_its_dependencies_do_not_keep_others_out(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number in range(dependencies.KEPT_SETS + 3):
        installed_set = tmp_path / "installed"
        installed_set.mkdir()
        os.utime(installed_set, (2**32 - 1, 2**32 - 1) if number < dependencies.KEPT_SETS else (0, 0))
        cache.mkdir(exist_ok=True)
        kept = dependencies.keep(cache, f"{number:040x}", installed_set)
        dependencies.prune(cache, kept.name)
        assert kept.is_dir()
    assert len(list(cache.iterdir())) == dependencies.KEPT_SETS


def test_only_the_latest_sets_are_kept(
    builder: Builder, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dependencies, "KEPT_SETS", 2)
    for number in range(4):
        built(builder, mirror, files_of(mirror, "Local::Base", also=f"# {number}\n"))
    kept = [one for one in (builder.app.root / "cache").iterdir() if one.name != "distributions"]
    assert len(kept) == 2


@pytest.mark.parametrize("root", [".", "backend"])
def test_dependencies_of_another_droplets_artifact_are_taken_and_not_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Mirror, root: str
) -> None:
    files = {f"{root}/{name}": text for name, text in files_of(mirror, "Local::Plain").items()}
    (tmp_path / "first").mkdir()
    first = make_builder(tmp_path / "first", monkeypatch)
    answer = built(first, mirror, files, root=root)
    artifact = (first.app.outgoing / answer["artifact"]["name"]).read_bytes()
    (tmp_path / "second").mkdir()
    second = make_builder(tmp_path / "second", monkeypatch)
    mirror.asked.clear()
    files[f"{root}/app.psgi"] = "2;\n"
    # Commands do not find the rest of the artifact.
    commands = [["sh", "-c", 'ls "$HOME/.." >found']]
    earlier = earlier_on(second, answer, artifact)
    again = built(second, mirror, files, root=root, earlier=earlier, commands=commands)
    assert mirror.asked == []
    assert again["dependencies"] == answer["dependencies"]
    assert installed(second.unpacked(again) / root) == {"Base", "Plain"}
    # They are in the cache from now on.
    assert built(second, mirror, files, root=root, commands=commands)["digest"] == again["digest"]
    assert mirror.asked == []
    assert second.leftovers() == []


@pytest.mark.parametrize("what", ["other dependencies", "damaged", "another digest", "no room"])
def test_an_earlier_artifact_that_is_not_the_right_one_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Mirror, what: str
) -> None:
    files = files_of(mirror, "Local::Plain")
    (tmp_path / "first").mkdir()
    first = make_builder(tmp_path / "first", monkeypatch)
    answer = built(first, mirror, files)
    artifact = (first.app.outgoing / answer["artifact"]["name"]).read_bytes()
    (tmp_path / "second").mkdir()
    second = make_builder(tmp_path / "second", monkeypatch)
    mirror.asked.clear()
    changes = {
        "other dependencies": {"dependencies": "0" * 40},
        "damaged": {},
        "another digest": {"digest": "0" * 64},
        "no room": {},
    }[what]
    if what == "no room":

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(building, "unpack", full)
    sent = artifact[:-200] if what == "damaged" else artifact
    again = built(second, mirror, files, earlier=earlier_on(second, answer, sent, **changes))
    assert mirror.asked != []
    assert installed(second.unpacked(again)) == {"Base", "Plain"}
