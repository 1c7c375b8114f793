"""What an app needs is installed from what the repository says, once for the same files."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.droplet import building, dependencies, installers
from agent.protocol import AgentError, Json
from tests.unit.agent.droplet.builds import Builder, make_builder
from tests.unit.agent.droplet.small_cpan import SmallCpan

HAS_CPANM = shutil.which("cpanm") is not None
HAS_CARTON = HAS_CPANM and subprocess.run(["perl", "-MCarton", "-e1"], capture_output=True).returncode == 0
pytestmark = [
    pytest.mark.skipif(not HAS_CPANM, reason="cpanm is not installed"),
    pytest.mark.skipif(not HAS_CARTON, reason="Carton is not installed"),
]


@dataclass
class Mirror:
    """A mirror by http, and the paths and passwords that it was asked with."""

    url: str
    cpan: SmallCpan
    asked: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    cpan = SmallCpan(tmp_path / "cpan")
    cpan.add("Local::Base")
    cpan.add("Local::Plain", {"Local::Base": "0"}, bin__hello="#!perl\nprint 'hello';\n")
    cpan.add("Local::Develop")
    cpan.add("Local::Feature")
    cpan.add("Local::Untestable", t__x_t="print qq(1..1\\nnot ok 1\\n);")
    cpan.add_xs("Local::Compiled")
    cpan.add_xs("Local::NeedsHeader", "#include <libpq-fe.h>\n#include <no-such-header-anywhere.h>")
    made: list[Mirror] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(cpan.directory))

        def do_GET(self) -> None:
            made[0].asked.append(self.path)
            made[0].authorizations.add(self.headers.get("Authorization", ""))
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.append(Mirror(f"http://127.0.0.1:{server.server_port}", cpan))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made[0]
        server.shutdown()
        thread.join()


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    return make_builder(tmp_path, monkeypatch)


def cpanfile(*modules: str) -> str:
    return "".join(f"requires '{module}';\n" for module in modules)


def files_of(mirror: Mirror, *modules: str, also: str = "") -> dict[str, str | bytes]:
    snapshot = mirror.cpan.snapshot(*mirror.cpan.index)
    return {"app.psgi": "1;\n", "cpanfile": cpanfile(*modules) + also, "cpanfile.snapshot": snapshot}


def built(builder: Builder, mirror: Mirror, files: dict[str, str | bytes], **changes: Any) -> Json:
    wanted = {"mirror": mirror.url, **changes.pop("dependencies", {})}
    return builder.build(builder.send(files), dependencies=wanted, **changes)


def refused(builder: Builder, mirror: Mirror, files: dict[str, str | bytes], **changes: Any) -> str:
    with pytest.raises(AgentError) as error:
        built(builder, mirror, files, **changes)
    return str(error.value)


def installed(release: Path) -> set[str]:
    return {path.stem for path in release.glob("local/lib/perl5/**/Local/*.pm")}


def earlier_on(builder: Builder, answer: Json, artifact: bytes, **changes: Any) -> Json:
    """Put an artifact that another droplet has built into ``incoming``, and return how a build names it."""
    builder.app.incoming.mkdir(parents=True, exist_ok=True)
    name = "earlier.tar.gz"
    (builder.app.incoming / name).write_bytes(artifact)
    sent = {"name": name, "sha256": hashlib.sha256(artifact).hexdigest(), "size": len(artifact)}
    return {"dependencies": answer["dependencies"], "digest": answer["digest"], "artifact": sent, **changes}


CARTON_AND_CPANM = pytest.mark.parametrize("installer", ["carton", "cpanm"])


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


def test_a_snapshot_is_installed_without_the_network_where_its_code_runs(
    builder: Builder, mirror: Mirror
) -> None:
    built(builder, mirror, files_of(mirror, "Local::Plain"))
    units = builder.uncaged.units
    assert "PrivateNetwork=yes" in units["dependencies"]
    assert "PrivateNetwork=yes" not in units["fetch"]


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


EXTRA = """
on develop => sub { requires 'Local::Develop' };
feature 'extra', 'Extra' => sub { requires 'Local::Feature' };
"""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"installer": "carton"}, {"Base", "Feature"}),
        ({"installer": "carton", "without": []}, {"Base", "Develop", "Feature"}),
        ({"installer": "carton", "without": ["develop", "extra"]}, {"Base"}),
        ({"installer": "carton", "features": ["extra"]}, {"Base", "Feature"}),
        ({"installer": "carton", "features": ["other"]}, {"Base"}),
        ({"installer": "cpanm"}, {"Base"}),
        ({"installer": "cpanm", "without": []}, {"Base", "Develop"}),
        ({"installer": "cpanm", "features": ["extra"]}, {"Base", "Feature"}),
        ({"installer": "none"}, set()),
    ],
)
def test_groups_and_features_are_those_of_the_settings(
    builder: Builder, mirror: Mirror, wanted: dict[str, Any], expected: set[str]
) -> None:
    answer = built(builder, mirror, files_of(mirror, "Local::Base", also=EXTRA), dependencies=wanted)
    assert installed(builder.unpacked(answer)) == expected


MAKEFILE = (
    "use ExtUtils::MakeMaker;\n"
    "WriteMakefile(NAME => 'App', VERSION_FROM => 'lib/App.pm', PREREQ_PM => { 'Local::Base' => 0 });\n"
)
META = {
    "name": "App",
    "version": "1",
    "abstract": "x",
    "author": ["x"],
    "license": ["perl_5"],
    "dynamic_config": 0,
    "generated_by": "x",
    "release_status": "stable",
    "meta-spec": {"version": 2},
    "prereqs": {"runtime": {"requires": {"Local::Base": "0"}}},
    "optional_features": {"extra": {"prereqs": {"runtime": {"requires": {"Local::Feature": "0"}}}}},
}


@pytest.mark.parametrize(
    ("files", "features", "expected"),
    [
        ({"Makefile.PL": MAKEFILE, "lib/App.pm": "package App; our $VERSION = '1'; 1;\n"}, [], {"Base"}),
        ({"dist.ini": "name = App\n", "META.json": json.dumps(META)}, [], {"Base"}),
        ({"dist.ini": "name = App\n", "META.json": json.dumps(META)}, ["extra"], {"Base", "Feature"}),
        ({"app.psgi": "1;\n"}, [], set()),
    ],
)
def test_cpanm_takes_what_names_dependencies(
    builder: Builder, mirror: Mirror, files: dict[str, str | bytes], features: list[str], expected: set[str]
) -> None:
    answer = built(builder, mirror, files, dependencies={"installer": "cpanm", "features": features})
    release = builder.unpacked(answer)
    assert installed(release) == expected
    assert not (release / "Makefile").exists()
    assert not (release / "cpanfile").exists()


def test_a_dist_ini_alone_is_refused(builder: Builder, mirror: Mirror) -> None:
    cause = refused(builder, mirror, {"dist.ini": ""}, dependencies={"installer": "cpanm"})
    assert cause == (
        "dist.ini is for Dist::Zilla, which droplets do not have: run dzil build, and commit the META.json, "
        "META.yml or cpanfile that it makes"
    )


def test_carton_without_a_snapshot_is_refused(builder: Builder, mirror: Mirror) -> None:
    cause = refused(builder, mirror, {"cpanfile": ""})
    assert cause.startswith(
        "cpanfile.snapshot is missing in the repository: run carton install, and commit it"
    )


def test_dependencies_are_in_the_apps_directory(builder: Builder, mirror: Mirror) -> None:
    files = {f"backend/{name}": text for name, text in files_of(mirror, "Local::Base").items()}
    answer = built(
        builder, mirror, files, root="backend", commands=[["perl", "-MLocal::Base", "-e", "mkdir q(x)"]]
    )
    release = builder.unpacked(answer)
    assert (release / "backend/local/lib/perl5/Local/Base.pm").is_file()
    assert (release / "backend/x").is_dir()
    assert not (release / "local").exists()


LOCAL = {"local/lib/perl5/Local/Committed.pm": "1;\n"}


@pytest.mark.parametrize("installer", ["carton", "cpanm", "none"])
def test_a_committed_local_stays_where_nothing_is_installed(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    answer = built(builder, mirror, {**LOCAL, "x": ""}, dependencies={"installer": installer})
    assert installed(builder.unpacked(answer)) == {"Committed"}


@CARTON_AND_CPANM
def test_a_committed_local_gives_way_to_what_is_installed(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    files = {**files_of(mirror, "Local::Base"), **LOCAL}
    answer = built(builder, mirror, files, dependencies={"installer": installer})
    assert installed(builder.unpacked(answer)) == {"Base"}


def test_a_link_among_the_dependencies_files_leads_to_what_it_should(
    builder: Builder, mirror: Mirror
) -> None:
    files = files_of(mirror, "Local::Base")
    moved = {"common/cpanfile": files.pop("cpanfile"), "backend/cpanfile@": "../common/cpanfile"}
    moved["backend/cpanfile.snapshot"] = files["cpanfile.snapshot"]
    first = built(builder, mirror, moved, root="backend")
    assert (builder.unpacked(first) / "backend/local/lib/perl5/Local/Base.pm").is_file()
    changed = {**moved, "common/cpanfile": cpanfile("Local::Feature")}
    second = built(builder, mirror, changed, root="backend")
    assert (builder.unpacked(second, "2") / "backend/local/lib/perl5/Local/Feature.pm").is_file()


@CARTON_AND_CPANM
@pytest.mark.parametrize("run_tests", [True, False])
def test_tests_of_distributions_run_only_if_the_settings_say_so(
    builder: Builder, mirror: Mirror, installer: str, run_tests: bool
) -> None:
    files = files_of(mirror, "Local::Untestable")
    dependencies = {"installer": installer, "run_tests": run_tests}
    if not run_tests:
        built(builder, mirror, files, dependencies=dependencies)
        return
    cause = refused(builder, mirror, files, dependencies=dependencies)
    assert cause == "cannot install the dependencies: ! Installing Local::Untestable failed."


@CARTON_AND_CPANM
def test_the_cause_is_the_compilers_and_names_what_to_install(
    builder: Builder, mirror: Mirror, installer: str
) -> None:
    cause = refused(
        builder, mirror, files_of(mirror, "Local::NeedsHeader"), dependencies={"installer": installer}
    )
    assert cause.startswith("cannot install the dependencies: fatal error: ")
    assert "no-such-header-anywhere.h" in cause or cause.endswith(
        "libpq-fe.h: No such file or directory (add the Debian package libpq-dev to fleet.packages)"
    )
    assert builder.leftovers() == []
    assert not [one for one in (builder.app.root / "cache").iterdir() if one.name != "distributions"]


def test_the_cause_is_found_however_much_others_write_after_it(
    builder: Builder, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the distributions that cpanm goes on with had filled the end of the log.
    monkeypatch.setattr(installers, "LOG_BYTES", 40)
    cause = refused(
        builder, mirror, files_of(mirror, "Local::NeedsHeader"), dependencies={"installer": "cpanm"}
    )
    assert cause.startswith("cannot install the dependencies: fatal error: ")


def test_a_distribution_that_is_nowhere_is_named(builder: Builder, mirror: Mirror) -> None:
    files = files_of(mirror, "Local::Base")
    (mirror.cpan.directory / "authors/id" / mirror.cpan.index["Local::Base"]).unlink()
    assert refused(builder, mirror, files) == (
        "cannot install the dependencies: ! Failed to fetch distribution Local-Base-1.0"
    )
    other = {**files, "cpanfile": cpanfile("No::Such::Module")}
    for installer in ("carton", "cpanm"):
        assert refused(builder, mirror, other, dependencies={"installer": installer}) == (
            "cannot install the dependencies: ! Couldn't find module or a distribution No::Such::Module"
        )


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


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ('END { rename "local", ".x"; symlink "/etc", "local" }', "local is no directory"),
        ('END { symlink "/etc/shadow", "local/x" }', "x is a link out of it, to /etc/shadow"),
        ('END { link "cpanfile", "local/x" }', "x is a hard link, and its other name is elsewhere"),
        ("use POSIX; END { POSIX::mkfifo('local/x', 0644) }", "x is a device, a pipe or a socket"),
    ],
)
def test_what_a_cpanfile_makes_is_inspected(
    builder: Builder, mirror: Mirror, program: str, problem: str
) -> None:
    files = files_of(mirror, "Local::Base", also=program)
    assert refused(builder, mirror, files) == f"the release is refused: {problem}"
    assert not [one for one in (builder.app.root / "cache").iterdir() if one.name != "distributions"]


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
