"""Values for shell and systemd: none can be more than a value."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.shell import assignments, with_head
from bluegreen.templates import render_unit

HOSTILE = [
    "$(id)",
    "`id`",
    "a;id",
    "a b\tc",
    "it's",
    '"; id; "',
    "-rf /",
    "a\nid",
    "*",
    "~root",
    "\\",
    "${IFS}",
    "",
    "{{ 7 * 7 }}",
    "é\u2028",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_value_reaches_the_shell_as_one_word(value: str) -> None:
    script = assignments({"value": value}) + "printf '%s\\0' \"$value\" end"
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, cwd="/").stdout
    assert printed.decode() == f"{value}\0end\0"


def test_numbers_and_words_of_a_list() -> None:
    script = (
        assignments({"number": 8080, "words": ["a", "b c", "$(id)"]}) + 'printf "%s|" $number "${words[@]}"'
    )
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, text=True).stdout
    assert printed == "8080|a|b c|$(id)|"


def test_the_head_stands_after_the_line_that_names_the_shell() -> None:
    assert with_head("#!/bin/bash\nid\n", {"a": 1}) == "#!/bin/bash\na=1\nid\n"


@pytest.mark.parametrize("value", [None, True, {"a": 1}, b"bytes", [["a"]]])
def test_what_is_no_word_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="only text and numbers"):
        assignments({"value": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("name", ["", "a b", "a;id", "A-B", "a\n"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match="no variable's name"):
        assignments({name: "x"})


def test_nul_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        assignments({"value": "a\0b"})


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("bluegreen.templates.TEMPLATES_DIRECTORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize("value", ["a b", "a\nExecStart=/bin/sh", "%n", "$HOME", "a;b", "", "'a'"])
def test_unit_takes_plain_words_only(value: str, templates: Path) -> None:
    (templates / "x.service.j2").write_text("User={{ value }}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be part of a systemd unit"):
        render_unit("x.service.j2", value=value)
    assert render_unit("x.service.j2", value="my_perl_app") == "User=my_perl_app\n"
