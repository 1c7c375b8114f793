"""The app's unit: every word arrives as it is, and release, configuration and command stand in one file."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bluegreen.release.cage import CAGE
from bluegreen.release.service_unit import ServiceUnit, unit_value, unit_word

NAME, RELEASE, DIGEST = "app-shop", f"{'a' * 40}-{'d' * 16}", "c" * 64
DIRECTORY = f"/opt/{NAME}/releases/{RELEASE}"
CONFIGURATION = f"/var/lib/bluegreen/{NAME}/configurations/{DIGEST}"
UNIT = ServiceUnit(
    system_name=NAME,
    release=RELEASE,
    configuration=DIGEST,
    directory=DIRECTORY,
    environment={"PERL5LIB": f"{DIRECTORY}/lib", "GREETING": 'a "b" 100% $c\\'},
    command=["/usr/bin/perl", "-S", "starman", "--listen", "10.0.0.5:8080"],
    stop_signal="SIGQUIT",
    stop_timeout=70,
    memory_max=None,
    delivers_files=False,
)


def lines(unit: ServiceUnit, name: str) -> list[str]:
    """Return the values of a setting in a unit."""
    return re.findall(rf"(?m)^{name}=(.*)$", unit.text)


def test_release_configuration_and_command_stand_in_one_file() -> None:
    assert lines(UNIT, "WorkingDirectory") == [DIRECTORY]
    assert lines(UNIT, "EnvironmentFile") == [f"-/etc/default/{NAME}", f"{CONFIGURATION}/environment"]
    assert lines(UNIT, "ExecStart") == ["/usr/bin/perl -S starman --listen 10.0.0.5:8080"]
    assert lines(UNIT, "Environment") == [
        '"GREETING=a \\"b\\" 100%% $c\\\\"',
        f"PERL5LIB={DIRECTORY}/lib",
    ]
    assert (lines(UNIT, "KillSignal"), lines(UNIT, "TimeoutStopSec")) == (["SIGQUIT"], ["70"])
    assert lines(UNIT, "StateDirectoryMode") == ["0700"]
    assert lines(UNIT, "User") == lines(UNIT, "StateDirectory") == [NAME]


def test_the_kernel_may_take_one_worker_and_the_service_goes_on() -> None:
    assert lines(UNIT, "OOMPolicy") == ["continue"]
    assert lines(UNIT, "MemoryMax") == []
    assert lines(replace(UNIT, memory_max="512M"), "MemoryMax") == ["512M"]


def test_delivered_files_are_bound_only_if_there_are_some() -> None:
    assert lines(UNIT, "BindReadOnlyPaths") == []
    delivering = replace(UNIT, delivers_files=True)
    assert lines(delivering, "BindReadOnlyPaths") == [f"{CONFIGURATION}/files:/etc/{NAME}"]
    assert f"BindReadOnlyPaths={CONFIGURATION}/files:/etc/{NAME}" in delivering.load_properties


def test_a_program_that_is_not_named_by_its_path_is_searched_in_the_environment() -> None:
    command = ["uwsgi", "--psgi", "app.psgi"]
    assert lines(replace(UNIT, command=command), "ExecStart") == ["/usr/bin/env uwsgi --psgi app.psgi"]


def test_a_load_has_the_cage_the_environment_and_the_directory_of_the_service() -> None:
    assert replace(UNIT, memory_max="2G").load_properties == [
        *CAGE,
        f"WorkingDirectory={DIRECTORY}",
        'Environment="GREETING=a \\"b\\" 100% $c\\\\"',
        f"Environment=PERL5LIB={DIRECTORY}/lib",
        f"EnvironmentFile=-/etc/default/{NAME}",
        f"EnvironmentFile={CONFIGURATION}/environment",
        "MemoryMax=2G",
    ]


# What systemd makes of each is in tests/sandbox/test_configuration.py.
@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("a b", '"a b"'),
        (";", '";"'),
        ("$HOME", '"$$HOME"'),
        ("${x}", '"$${x}"'),
        ("%n", '"%%n"'),
        ('"', '"\\""'),
        ("'", '"\'"'),
        ("\\n", '"\\\\n"'),
        ("größe", '"größe"'),
        ("#", '"#"'),
        ("a\\", '"a\\\\"'),
        ("@-+:!", '"@-+:!"'),
    ],
)
def test_a_word_of_a_command_is_one_word_for_systemd(word: str, written: str) -> None:
    assert unit_word(word) == written


@pytest.mark.parametrize("word", ["a\nb", "a\0", "\t", "\x7f"])
def test_a_control_character_cannot_be_part_of_a_unit(word: str) -> None:
    for quote in (unit_word, unit_value):
        with pytest.raises(ValueError, match="cannot be part of a systemd unit"):
            quote(word)
    with pytest.raises(ValueError, match="cannot be part of a systemd unit"):
        _ = replace(UNIT, environment={"A": word}).load_properties


@pytest.mark.parametrize(
    "changes", [{"directory": "/opt/a b"}, {"stop_signal": "SIGQUIT\nExecStartPre=id"}, {"memory_max": "1 G"}]
)
def test_everything_else_is_a_plain_word(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot be part of a systemd unit"):
        _ = replace(UNIT, **changes).text  # type: ignore[arg-type]
