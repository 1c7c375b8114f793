"""What a configuration may be is known before it is sent, and its digest is of everything in it."""

from __future__ import annotations

from typing import Any

import pytest

from agent.configuration import (
    LARGEST_ENVIRONMENT,
    LARGEST_FILE,
    LARGEST_VALUE,
    MOST_FILES,
    MOST_VARIABLES,
    check_configuration,
    check_variable,
    configuration_digest,
)
from tests.unit.agent.droplet.local_droplet import configuration
from tests.unit.nasty_values import NASTY_VALUES


def test_nasty_values_are_values_like_others() -> None:
    check_configuration(configuration({f"V{number}": value for number, value in enumerate(NASTY_VALUES)}))


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("1A", "hunter22", "no name of a variable"),
        ("A-B", "hunter22", "no name of a variable"),
        ("", "hunter22", "no name of a variable"),
        ("A", "hunter22\0", "U\\+0000"),
        ("A", "hunter22\r\n", "U\\+000D"),
        ("A", "hunter22\x1b[31m", "U\\+001B"),
        ("A", "hunter22\x7f", "U\\+007F"),
        ("A", "hunter22\ud800", "U\\+D800"),
        ("A", "hunter22\ufdd0", "U\\+FDD0"),
        ("A", "hunter22\U0001ffff", "U\\+1FFFF"),
        ("A", "hunter22" + "x" * LARGEST_VALUE, "more than 100000 bytes"),
    ],
)
def test_a_value_that_systemd_would_drop_is_refused_and_not_shown(name: str, value: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        check_variable(name, value)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "mode", "why"),
    [
        ("", 0o640, "cannot be the path"),
        ("/etc/passwd", 0o640, "cannot be the path"),
        ("../x", 0o640, "cannot be the path"),
        ("a/../x", 0o640, "cannot be the path"),
        ("a/./x", 0o640, "cannot be the path"),
        ("a//x", 0o640, "cannot be the path"),
        ("a/", 0o640, "cannot be the path"),
        ("a b", 0o640, "cannot be the path"),
        ("a\n", 0o640, "cannot be the path"),
        ("a/" * 9 + "x", 0o640, "cannot be the path"),
        ("x" * 201, 0o640, "cannot be the path"),
        ("x", 0o660, "mode"),
        ("x", 0o4755, "mode"),
        ("x", 0o040, "mode"),
        ("x", True, "mode"),
        ("x", "0640", "mode"),
    ],
)
def test_a_file_that_cannot_be_delivered_is_refused(path: str, mode: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_configuration(configuration(files={path: (b"", mode)}))


@pytest.mark.parametrize("path", ["x", ".env", "..x", "a/.b/c-d_e+f=g,h@1.2"])
def test_paths_of_delivered_files(path: str) -> None:
    check_configuration(configuration(files={path: (b"", 0o640)}))


def test_one_path_is_one_file() -> None:
    with pytest.raises(ValueError, match="a is both a file and the directory of a/b"):
        check_configuration(configuration(files={"a/b": (b"", 0o640), "a": (b"", 0o640)}))
    twice = configuration(files={"a": (b"", 0o640)})
    twice["files"] *= 2
    with pytest.raises(ValueError, match="the file a is delivered twice"):
        check_configuration(twice)


@pytest.mark.parametrize(
    "wanted",
    [
        configuration({f"V{number}": "" for number in range(MOST_VARIABLES + 1)}),
        configuration({f"V{number}": "x" * 90_000 for number in range(LARGEST_ENVIRONMENT // 90_000 + 1)}),
        configuration(files={f"f{number}": (b"", 0o640) for number in range(MOST_FILES + 1)}),
        configuration(files={"f": (bytes(LARGEST_FILE + 1), 0o640)}),
        configuration(files={f"f{number}": (bytes(LARGEST_FILE), 0o640) for number in range(5)}),
    ],
    ids=["variables", "bytes", "files", "one file", "all files"],
)
def test_a_configuration_has_bounds(wanted: Any) -> None:
    with pytest.raises(ValueError, match="are the most"):
        check_configuration(wanted)


def test_a_file_that_is_not_in_base64_is_refused() -> None:
    wanted = configuration(files={"a": (b"x", 0o640)})
    wanted["files"][0]["content"] = "*"
    with pytest.raises(ValueError, match="the content of the file a is not in base64"):
        check_configuration(wanted)


def test_the_digest_is_of_everything_and_of_nothing_else() -> None:
    first = configuration({"A": "1", "B": "2"}, {"a": (b"x", 0o640), "b": (b"y", 0o640)})
    assert first == configuration({"B": "2", "A": "1"}, {"a": (b"x", 0o640), "b": (b"y", 0o640)})
    reordered = list(reversed(first["files"]))
    assert configuration_digest(first["salt"], first["variables"], reordered) == first["digest"]
    others = [
        configuration({"A": "1", "B": "3"}, {"a": (b"x", 0o640), "b": (b"y", 0o640)}),
        configuration({"A": "1", "C": "2"}, {"a": (b"x", 0o640), "b": (b"y", 0o640)}),
        configuration({"A": "1", "B": "2"}, {"a": (b"x", 0o600), "b": (b"y", 0o640)}),
        configuration({"A": "1", "B": "2"}, {"a": (b"z", 0o640), "b": (b"y", 0o640)}),
        configuration({"A": "1", "B": "2"}, {"c": (b"x", 0o640), "b": (b"y", 0o640)}),
        configuration({"A": "1", "B": "2"}, {"a": (b"x", 0o640)}),
    ]
    digests = {first["digest"], *(one["digest"] for one in others)}
    assert len(digests) == 1 + len(others)
    assert configuration_digest("0" * 32, first["variables"], first["files"]) not in digests
