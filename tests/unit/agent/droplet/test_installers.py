"""Of an app's dependency files and settings counts what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.droplet import installers
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


def test_a_snapshot_is_installed_without_the_network_where_its_code_runs(
    builder: Builder, mirror: Mirror
) -> None:
    built(builder, mirror, files_of(mirror, "Local::Plain"))
    units = builder.uncaged.units
    assert "PrivateNetwork=yes" in units["dependencies"]
    assert "PrivateNetwork=yes" not in units["fetch"]


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


@CARTON_AND_CPANM
def test_what_is_left_out_need_not_exist(builder: Builder, mirror: Mirror, installer: str) -> None:
    also = (
        "on develop => sub { requires 'No::Such::DevelTool' };\n"
        "feature 'mysql', 'x' => sub { requires 'No::Such::Database' };\n"
        "feature 'sqlite', 'x' => sub {\n"
        "    requires 'Local::Feature';\n"
        "    on develop => sub { requires 'No::Such::DevelTool' };\n"
        "};\n"
    )
    files = files_of(mirror, "Local::Base", also=also)
    wanted = {"installer": installer, "without": ["develop", "mysql"]}
    if installer == "cpanm":
        wanted["features"] = ["sqlite"]
    assert installed(builder.unpacked(built(builder, mirror, files, dependencies=wanted))) == {
        "Base",
        "Feature",
    }


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
        ({"cpanfile": "requires 'Local::Base';\n"}, [], {"Base"}),
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
    assert (release / "cpanfile").exists() == ("cpanfile" in files)


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
