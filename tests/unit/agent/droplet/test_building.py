"""A release is built from its source alone, and what it leaves is inspected, or nothing is left."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import AgentError
from agent.system import digest
from tests.unit.agent.droplet.builds import APP, COMMITTED, REVISION, Builder, make_builder

SOURCE = {
    "app.psgi": "sub { }\n",
    "bin/run*": "#!/bin/sh\n",
    "lib/Shop.pm": "1;\n",
    "lib/current@": "Shop.pm",
}
NO_DEPENDENCIES = {"installer": "none"}


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builder]:
    builder = make_builder(tmp_path, monkeypatch)
    yield builder
    assert [name for name in builder.leftovers() if "partial" in name] == []


def refused(builder: Builder, source: Any, **changes: Any) -> str:
    with pytest.raises(AgentError) as error:
        builder.build(source, **{"dependencies": NO_DEPENDENCIES, **changes})
    assert not list(builder.app.outgoing.glob("*.tar.gz"))
    return str(error.value)


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_release_has_the_source_and_what_root_adds(builder: Builder, is_packed: bool) -> None:
    answer = builder.build(builder.send(SOURCE, is_packed), dependencies=NO_DEPENDENCIES)
    assert answer["release"] == f"{REVISION}-{answer['digest'][:16]}"
    release = builder.unpacked(answer)
    assert (release / "REVISION").read_text() == f"{REVISION}\n"
    assert (release / "app.psgi").read_text() == SOURCE["app.psgi"]
    assert (release / "lib/current").readlink() == Path("Shop.pm")
    assert stat.S_IMODE((release / "bin/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((release / "app.psgi").stat().st_mode) == 0o644
    assert (release / "app.psgi").stat().st_mtime == COMMITTED
    wrappers = {path.name for path in (release / ".bluegreen").iterdir()}
    assert wrappers == {"manifest", "revision.psgi", "revision_mojolicious.pl"}


def test_the_same_source_gives_the_same_release(builder: Builder) -> None:
    source = builder.send(SOURCE)
    commands = [["sh", "-c", "date +%N > /dev/null; mkdir out; echo made > out/it"]]
    built = [builder.build(source, dependencies=NO_DEPENDENCIES, commands=commands) for _ in range(2)]
    assert built[0] == built[1]
    other = builder.build(builder.send({**SOURCE, "new": ""}), dependencies=NO_DEPENDENCIES)
    assert other["digest"] != built[0]["digest"]


def test_a_source_that_is_not_the_one_that_was_sent_is_refused(builder: Builder) -> None:
    source = builder.send(SOURCE)
    assert "bytes instead of" in refused(builder, {**source, "size": source["size"] + 1})
    assert "is not as it was sent" in refused(builder, {**source, "sha256": "0" * 64})
    (builder.app.incoming / "source.tar.gz").write_bytes(b"x" * source["size"])
    assert "is not as it was sent" in refused(builder, source)


def test_a_source_that_cannot_be_unpacked_is_refused(builder: Builder) -> None:
    source = builder.send(SOURCE)
    builder.uncaged.commands.clear()
    data = b"no archive" * 100
    path = builder.app.incoming / "source.tar.gz"
    path.write_bytes(data)
    cause = refused(builder, {**source, "size": len(data), "sha256": digest(data)})
    assert cause.startswith("cannot unpack the source: tar: This does not look like a tar archive")


def test_what_commands_make_is_part_of_the_release_and_their_caches_are_not(builder: Builder) -> None:
    script = (
        'set -e; mkdir public; cat src/a.js >public/all.js; touch "$HOME/cache"; chmod 600 public/all.js; pwd'
    )
    source = builder.send({**SOURCE, "src/a.js": "a()\n"})
    answer = builder.build(source, dependencies=NO_DEPENDENCIES, commands=[["sh", "-c", script], ["true"]])
    release = builder.unpacked(answer)
    assert (release / "public/all.js").read_text() == "a()\n"
    assert stat.S_IMODE((release / "public/all.js").stat().st_mode) == 0o644
    assert not list(release.rglob("cache"))


def test_nothing_that_a_build_runs_can_hand_a_directory_to_a_service(builder: Builder) -> None:
    builder.build(builder.send(SOURCE), dependencies=NO_DEPENDENCIES, commands=[["true"]])
    for properties in builder.uncaged.units.values():
        families = [one for one in properties if one.startswith("RestrictAddressFamilies=")]
        assert families == ["RestrictAddressFamilies=AF_INET AF_INET6"]
        assert any("~io_uring_setup" in one for one in properties)


def test_while_a_build_is_at_work_only_its_user_sees_what_it_is_made_of(builder: Builder) -> None:
    modes = "stat -c %a .. ../../cache >seen"
    answer = builder.build(builder.send(SOURCE), dependencies=NO_DEPENDENCIES, commands=[["sh", "-c", modes]])
    assert (builder.unpacked(answer) / "seen").read_text().split() == ["710", "750"]


def test_a_build_user_that_is_missing_is_made(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "programs/useradd").write_text("#!/bin/sh\necho useradd: the disk is read-only; exit 1\n")
    (tmp_path / "programs/useradd").chmod(0o755)
    assert refused(builder, builder.send(SOURCE), user="build-nowhere") == (
        "cannot make the user build-nowhere: useradd: the disk is read-only"
    )


@pytest.mark.parametrize("network", [True, False])
def test_commands_have_the_network_only_if_the_settings_say_so(builder: Builder, network: bool) -> None:
    source = builder.send(SOURCE)
    builder.build(source, dependencies=NO_DEPENDENCIES, commands=[["true"]], network=network)
    units = builder.uncaged.units
    assert ("PrivateNetwork=yes" in units["command"]) != network
    assert "PrivateNetwork=yes" in units["unpack"]
    for properties in units.values():
        assert "NoNewPrivileges=yes" in properties


def test_commands_run_in_the_apps_directory(builder: Builder) -> None:
    source = builder.send({"backend/app.psgi": "sub { }\n", "README": ""})
    answer = builder.build(
        source, root="backend", dependencies=NO_DEPENDENCIES, commands=[["cp", "app.psgi", "b"]]
    )
    assert (builder.unpacked(answer) / "backend/b").is_file()
    assert refused(builder, source, root="frontend") == (
        "the release is refused: frontend is no directory of the repository"
    )


def test_a_command_that_fails_is_named_with_the_cause(builder: Builder) -> None:
    files = {**SOURCE, "make.sh": "echo npm ERR! code 1; echo npm ERR! Missing script: build; exit 3"}
    cause = refused(builder, builder.send(files), commands=[["true"], ["sh", "make.sh"]])
    assert cause == "the build command sh make.sh failed with status 3: npm ERR! Missing script: build"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("ln -s /etc/shadow x", "x is a link out of it, to /etc/shadow"),
        ("ln -s ../../../etc x", "x is a link out of it, to ../../../etc"),
        ("ln -s . x; ln -s x/../../y y", "y is a link out of it, to x/../../y"),
        ("mkfifo x", "x is a device, a pipe or a socket"),
        ("touch x; chmod 4755 x", "x has a set-user-id or set-group-id bit"),
        ("mkdir x; chmod 2755 x", "x has a set-user-id or set-group-id bit"),
        ('touch "$HOME/y"; ln "$HOME/y" x', "x is a hard link, and its other name is elsewhere"),
        (r"touch $(printf 'a\377b')", "the name a?b is not UTF-8"),
        (r"touch $(printf 'a\033b')", "the name a?b has control characters"),
        (
            "d=$(printf %0200d 0); for i in $(seq 18); do mkdir $d; cd $d; done",
            "00… is longer than 3500 bytes",
        ),
        (
            "perl -e 'for (1 .. 60) { mkdir q(0) x 200; chdir q(0) x 200 }'",
            "00… is longer than 3500 bytes",
        ),
    ],
)
def test_what_root_must_not_take_over_is_named_and_refused(
    builder: Builder, script: str, problem: str
) -> None:
    cause = refused(builder, builder.send(SOURCE), commands=[["sh", "-c", script]])
    assert cause.startswith("the release is refused: ")
    assert cause.endswith(problem)


def test_hard_links_within_a_release_are_files_of_it(builder: Builder) -> None:
    answer = builder.build(
        builder.send(SOURCE), dependencies=NO_DEPENDENCIES, commands=[["ln", "app.psgi", "same"]]
    )
    release = builder.unpacked(answer)
    assert (release / "same").read_text() == SOURCE["app.psgi"]
    assert (release / "same").stat().st_nlink == 1


def test_what_a_repository_has_where_root_writes_is_replaced(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("kept")
    links = {"REVISION@": "/etc/hostname", ".bluegreen@": str(tmp_path / "precious")}
    release = builder.unpacked(builder.build(builder.send({**SOURCE, **links}), dependencies=NO_DEPENDENCIES))
    assert (release / "REVISION").read_text() == f"{REVISION}\n"
    assert not (release / ".bluegreen").is_symlink()
    assert [path.name for path in (tmp_path / "precious").iterdir()] == ["file"]


def test_links_of_the_settings_are_added(builder: Builder) -> None:
    links = {"log": f"/var/lib/{APP}/shared/log", "a/b/db.yaml": f"/etc/{APP}/a/b/db.yaml"}
    source = builder.send({**SOURCE, "log@": links["log"]})
    release = builder.unpacked(builder.build(source, links=links, dependencies=NO_DEPENDENCIES))
    assert {path: str((release / path).readlink()) for path in links} == links


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"log": ""}, "log/x"),
        ({"log": ""}, "log"),
        ({"log/.gitkeep": ""}, "log"),
        ({"log@": "lib"}, "log/x"),
        ({"log@": "lib"}, "log"),
        ({"log/x/y": ""}, "log/x"),
    ],
)
def test_a_link_of_the_settings_replaces_nothing(builder: Builder, files: dict[str, str], path: str) -> None:
    target = f"/var/lib/{APP}/shared/log"
    source = builder.send({**SOURCE, **files})
    cause = refused(builder, source, links={path: target})
    assert re.fullmatch(
        rf"the release is refused: the repository has log(/x)?, which is to be .*{target}: .*", cause
    )


@pytest.mark.parametrize(
    "change",
    [
        {"links": {"x": "/etc/shadow"}},
        {"links": {"x": f"/etc/{APP}/../shadow"}},
        {"links": {"../x": f"/etc/{APP}/x"}},
        {"commands": ["make"]},
        {"commands": [[]]},
        {"commands": [["a\0b"]]},
        {"packages": ["a b"]},
        {"packages": ["--purge"]},
        {"packages": ["perl-"]},
        {"perl": "perl"},
        {"root": ""},
        {"root": "../x"},
        {"revision": "main"},
        {"committed": -1},
        {"cage": "no"},
        {"dependencies": {"installer": "cpan"}},
        {"dependencies": {"mirror": "https://a/ --self-contained"}},
        {"dependencies": {"mirror": "https://user:secret@cpan.example.com"}},
        {"dependencies": {"features": ["--force"]}},
        {"credentials": {"login": "x"}},
        {"credentials": "x:y"},
        {"source": {"name": "../x", "sha256": "0" * 64, "size": 1}},
        {"source": None},
        {"user": "../x"},
    ],
)
def test_a_request_that_is_not_usable_is_refused(builder: Builder, change: dict[str, Any]) -> None:
    refused(
        builder,
        change.pop("source", builder.send(SOURCE)) if "source" in change else builder.send(SOURCE),
        **change,
    )


def test_nothing_of_the_release_before_is_left_in_outgoing(builder: Builder) -> None:
    builder.build(builder.send(SOURCE), dependencies=NO_DEPENDENCIES)
    answer = builder.build(builder.send({**SOURCE, "new": ""}), dependencies=NO_DEPENDENCIES)
    assert [path.name for path in builder.app.outgoing.iterdir()] == [answer["artifact"]["name"]]


def test_what_a_killed_build_has_left_is_no_obstacle(builder: Builder) -> None:
    left = builder.app.root / "build.partial.d" / "tree"
    left.mkdir(parents=True)
    (left / "evil").symlink_to("/etc")
    release = builder.unpacked(builder.build(builder.send(SOURCE), dependencies=NO_DEPENDENCIES))
    assert not (release / "evil").is_symlink()
