"""Rendering for shell and systemd: no value can be more than a value."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from bluegreen.scripts import render_script, render_unit

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


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("bluegreen.templates.TEMPLATES_DIRECTORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize("value", HOSTILE)
def test_value_reaches_the_shell_as_one_word(value: str, templates: Path) -> None:
    (templates / "echo.sh.j2").write_text("printf '%s\\0' {{ value }} end", encoding="utf-8")
    script = render_script("echo.sh.j2", value=value)
    printed = subprocess.run(["bash", "-c", script], capture_output=True, check=True, cwd="/").stdout
    assert printed.decode() == f"{value}\0end\0"


def test_numbers_and_words_of_a_list(templates: Path) -> None:
    (templates / "list.sh.j2").write_text(
        "{{ number }}{% for word in words %} {{ word }}{% endfor %}", encoding="utf-8"
    )
    assert render_script("list.sh.j2", number=8080, words=["a", "b c"]) == "8080 a 'b c'"


@pytest.mark.parametrize("value", [None, True, ["a", "b"], {"a": 1}, b"bytes"])
def test_what_is_no_word_is_refused(value: object, templates: Path) -> None:
    (templates / "x.sh.j2").write_text("{{ value }}", encoding="utf-8")
    with pytest.raises(TypeError, match="only text and numbers"):
        render_script("x.sh.j2", value=value)


def test_nul_byte_is_refused(templates: Path) -> None:
    (templates / "x.sh.j2").write_text("{{ value }}", encoding="utf-8")
    with pytest.raises(ValueError, match="NUL"):
        render_script("x.sh.j2", value="a\0b")


def test_forgotten_value_is_an_error(templates: Path) -> None:
    (templates / "x.sh.j2").write_text("{{ value }}", encoding="utf-8")
    with pytest.raises(UndefinedError, match="value"):
        render_script("x.sh.j2", valeu="typo")


@pytest.mark.parametrize("value", ["a b", "a\nExecStart=/bin/sh", "%n", "$HOME", "a;b", "", "'a'"])
def test_unit_takes_plain_words_only(value: str, templates: Path) -> None:
    (templates / "x.service.j2").write_text("User={{ value }}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be part of a systemd unit"):
        render_unit("x.service.j2", value=value)
    assert render_unit("x.service.j2", value="my_perl_app") == "User=my_perl_app\n"
