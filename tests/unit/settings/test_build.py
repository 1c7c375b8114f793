"""How a release is built and kept: what is refused when the file is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from tests.unit.app_settings import settings_of

EXAMPLE = "https://cpan.example.com"


@pytest.mark.parametrize(
    ("section", "written", "expected"),
    [
        (
            "dependencies",
            "installer: cpan",
            "installer: found 'cpan': Input should be 'carton', 'cpanm' or 'none'",
        ),
        ("dependencies", "without: [--help]", "without.0: found '--help'"),
        *(
            (
                "dependencies",
                f"without: [develop, {phase}]",
                f"without.1: found '{phase}': {phase} is a phase",
            )
            for phase in ("test", "build", "configure", "runtime")
        ),
        ("dependencies", "features: ['a,b']", "features.0: found 'a,b'"),
        ("dependencies", "{without: [pg], features: [pg]}", "pg is both in features and in without"),
        *(
            ("dependencies", f"mirror: '{url}'", f"mirror: found '{url}': allowed is http:// or https://")
            for url in (
                "cpan.example.com",
                "ftp://cpan.example.com",
                "https://",
                f"{EXAMPLE}?a=b",
                f"{EXAMPLE}:0",
            )
        ),
        (
            "dependencies",
            "mirror: https://me:secret@cpan.example.com",
            "a password or token belongs in connections.cpan, not in this file",
        ),
        (
            "build",
            "commands: npm ci",
            "commands: found 'npm ci': this is a list of commands, each of them a list",
        ),
        ("build", "commands: npm ci", "a list of words: [[npm, ci]]"),
        ("build", "commands: npm ci && make", 'a list of words: [[bash, -c, "npm ci && make"]]'),
        ("build", "commands: [npm, ci]", "a list of words: [[npm, ci]]"),
        (
            "build",
            "commands: [make all]",
            "commands.0: found 'make all': a command is a list of words: [make, all]",
        ),
        ("build", "commands: [[]]", "commands.0: found []"),
        ("build", "commands: [['']]", "commands.0.0: found ''"),
        ("build", "network: sometimes", "network: found 'sometimes'"),
        (
            "artifacts",
            "store: artifacts",
            "store: found 'artifacts': allowed is an absolute path of a directory",
        ),
        ("artifacts", "store: /srv/../etc", "store: found '/srv/../etc': '..' leads out of the store"),
        ("artifacts", "store: s3://key:secret@bucket/a", "a password does not belong in this file"),
        ("artifacts", "store: 's3://spaces@bucket/a?b'", "store: found 's3://spaces@bucket/a?b': allowed is"),
        ("artifacts", "keep: 1", "keep: found 1"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(
    tmp_path: Path, section: str, written: str, expected: str
) -> None:
    braces = written if written.startswith("{") else f"{{{written}}}"
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, replaced={f"\n{section}:\n": f"\n{section}: {braces}\n"})
    assert f"shop.yaml: {section}" in str(caught.value)


@pytest.mark.parametrize(
    ("conn_id", "dependencies", "expected"),
    [
        ("our cpan", f"mirror: '{EXAMPLE}'", "connections.cpan: found 'our cpan'"),
        (
            "our_cpan",
            "",
            "connections.cpan: found 'our_cpan', whose password is for the mirror in dependencies",
        ),
        ("our_cpan", "mirror: 'http://cpan.example.com'", "allowed there is an https:// URL"),
        ("our_cpan", f"mirror: '{EXAMPLE}', installer: cpanm", "installer is cpanm; allowed is carton"),
        ("our_cpan", f"mirror: '{EXAMPLE}', installer: none", "installer is none; allowed is carton"),
    ],
)
def test_a_mirrors_password_needs_https_and_an_installer_that_keeps_it(
    tmp_path: Path, conn_id: str, dependencies: str, expected: str
) -> None:
    replaced = {"\ndependencies:\n": f"\ndependencies: {{{dependencies}}}\n"}
    with pytest.raises(SettingsError, match=re.escape(expected)):
        settings_of(tmp_path, connections=f"cpan: {conn_id}", replaced=replaced)


def test_a_private_mirror_is_accepted(tmp_path: Path) -> None:
    replaced = {"\ndependencies:\n": f"\ndependencies: {{mirror: '{EXAMPLE}'}}\n"}
    assert (
        settings_of(tmp_path, connections="cpan: our_cpan", replaced=replaced).connections.cpan == "our_cpan"
    )


@pytest.mark.parametrize("package", ["libpq-", "-y", "Curl", "curl=7", "curl:arm64", "a b", "./x.deb", "g"])
def test_a_package_that_apt_would_take_for_something_else_is_refused(tmp_path: Path, package: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"fleet.packages.0: found '{package}'")):
        settings_of(tmp_path, replaced={"\nfleet:\n": f"\nfleet:\n  packages: ['{package}']\n"})


def test_usual_values_are_accepted(tmp_path: Path) -> None:
    app = settings_of(
        tmp_path,
        replaced={
            "\ndependencies:\n": "\ndependencies: {installer: cpanm, mirror: 'http://10.0.0.9:8080/cpan'}\n",
            "\nbuild:\n": "\nbuild: {commands: [[npm, ci], [bash, -c, 'a | b'], [make]], network: true}\n",
            "\nartifacts:\n": "\nartifacts: {store: 's3://spaces@my-bucket/artifacts'}\n",
            "\nfleet:\n": "\nfleet:\n  packages: [libpq-dev, g++, libssl3, libxml2-dev, python3.11]\n",
        },
    )
    assert app.build.commands == [["npm", "ci"], ["bash", "-c", "a | b"], ["make"]]
    assert app.fleet.packages[1] == "g++"
