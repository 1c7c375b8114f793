"""Tarballs come whole from the repository or the mirror, and a mirror's password goes to it alone."""

from __future__ import annotations

import os

import pytest

from tests.unit.agent.droplet.builds import Builder
from tests.unit.agent.droplet.dependency_builds import (
    CARTON_AND_CPANM,
    NEEDS_PROGRAMS,
    Mirror,
    built,
    cpanfile,
    files_of,
    installed,
    refused,
)

pytestmark = NEEDS_PROGRAMS


@CARTON_AND_CPANM
def test_vendored_tarballs_need_no_mirror(builder: Builder, mirror: Mirror, installer: str) -> None:
    files = files_of(mirror, "Local::Plain")
    for path in (*mirror.cpan.index.values(), "../../modules/02packages.details.txt.gz"):
        name = f"authors/id/{path}" if "modules" not in path else "modules/02packages.details.txt.gz"
        files[f"vendor/cache/{name}"] = (mirror.cpan.directory / name).read_bytes()
    answer = built(builder, mirror, files, dependencies={"installer": installer})
    assert installed(builder.unpacked(answer)) == {"Base", "Plain"}
    assert mirror.asked == []
    assert "PrivateNetwork=yes" in builder.uncaged.units["dependencies"]


def test_a_mirror_that_does_not_answer_is_named(builder: Builder, mirror: Mirror) -> None:
    dependencies = {"mirror": "http://127.0.0.1:9"}
    cause = refused(builder, mirror, files_of(mirror, "Local::Base"), dependencies=dependencies)
    assert cause.startswith("cannot install the dependencies: error: cannot fetch from http://127.0.0.1: ")


def test_a_mirrors_password_is_sent_and_is_nowhere_else(
    builder: Builder, mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    # A cpanfile is a program of the repository.
    seen = 'system "cat ../* ../*/* ~/*; env";\n'
    commands = [["sh", "-c", "cat ../* ../*/*; env"]]
    credentials = {"login": "user", "password": "s3cr/t"}
    files = files_of(mirror, "Local::Base", also=seen)
    answer = built(builder, mirror, files, credentials=credentials, commands=commands)
    release = builder.unpacked(answer)
    assert installed(release) == {"Base"}
    assert mirror.authorizations == {"Basic dXNlcjpzM2NyL3Q="}
    said = str(builder.uncaged.commands) + str(builder.uncaged.units) + capsys.readouterr().out
    assert "s3cr" not in said
    written = [path for path in builder.app.root.parent.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if b"s3cr" in path.read_bytes() or b"dXNlcjpz" in path.read_bytes()]


def test_code_of_the_repository_is_not_given_a_mirrors_password(builder: Builder, mirror: Mirror) -> None:
    cause = refused(
        builder,
        mirror,
        files_of(mirror, "Local::Base"),
        dependencies={"installer": "cpanm"},
        credentials={"login": "user", "password": "s3cret"},
    )
    assert cause == (
        "cpanm runs the repository's code while it asks the mirror, so it is not given the password: "
        "use carton"
    )
    assert mirror.asked == []


@CARTON_AND_CPANM
def test_a_tarball_that_is_kept_and_damaged_is_fetched_anew(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    wanted = {"installer": installer}
    built(builder, mirror, files_of(mirror, "Local::Base"), dependencies=wanted)
    [kept] = (builder.app.root / "cache/distributions").rglob("Local-Base-1.0.tar.gz")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-20])
    built(builder, mirror, files_of(mirror, "Local::Base", also="# again\n"), dependencies=wanted)
    assert kept.read_bytes() == whole


def test_a_tarball_that_is_damaged_and_nowhere_else_is_dropped(builder: Builder, mirror: Mirror) -> None:
    files = files_of(mirror, "Local::Base")
    built(builder, mirror, files)
    [kept] = (builder.app.root / "cache/distributions").rglob("Local-Base-1.0.tar.gz")
    kept.write_bytes(kept.read_bytes()[:-20])
    (mirror.cpan.directory / "authors/id" / mirror.cpan.index["Local::Base"]).unlink()
    cause = refused(builder, mirror, {**files, "cpanfile": cpanfile("Local::Base") + "# again\n"})
    assert cause == "cannot install the dependencies: ! Failed to fetch distribution Local-Base-1.0"
    assert not kept.exists()


def test_a_build_does_not_change_the_tarballs_that_are_kept(builder: Builder, mirror: Mirror) -> None:
    evil = 'END { for (glob "$ENV{HOME}/saved/authors/id/*/*/*/*") { open my $f, ">", $_; print $f "evil" } }'
    built(builder, mirror, files_of(mirror, "Local::Base", also=evil), dependencies={"installer": "cpanm"})
    [kept] = (builder.app.root / "cache/distributions").rglob("Local-Base-1.0.tar.gz")
    assert (
        kept.read_bytes()
        == (mirror.cpan.directory / "authors/id" / mirror.cpan.index["Local::Base"]).read_bytes()
    )


def test_a_snapshot_that_is_a_link_is_not_followed_by_root(builder: Builder, mirror: Mirror) -> None:
    os.mkfifo(builder.app.root.parent / "fifo")
    files = {**files_of(mirror, "Local::Base"), "cpanfile.snapshot@": str(builder.app.root.parent / "fifo")}
    del files["cpanfile.snapshot"]
    cause = refused(builder, mirror, files)
    assert cause == "cpanfile.snapshot is no file: commit it, not a link to it"
