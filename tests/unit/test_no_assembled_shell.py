"""What a machine runs stands in the repository as the very file: no shell is assembled from strings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dags", "plugins", "include/agent")
# What a program of the shell has, and a command or a sentence does not.
SHELL = re.compile(
    r"^#!|\bset -[a-zA-Z]*[eu]|\$\([a-z]|\$\{[a-z]|;\s*(?:then|do|fi|done)\b|\bfi\n|\bdone\n|<<-?['A-Z]"
    r"|2>&1|>\s*/dev/null|\bbash -[cs]\b|\bsh -c\b",
    re.MULTILINE,
)


def programs() -> list[str]:
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    # Git of the mirror is run by Airflow itself, with a limit that only a shell can set for it.
    found.remove(ROOT / "plugins/bluegreen/source/git.py")
    assert found
    return sorted(str(path.relative_to(ROOT)) for path in found)


def texts(tree: ast.AST) -> Iterator[str]:
    """Return every text in a program besides docstrings; an f-string without its values."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("path", programs())
def test_no_string_of_a_program_is_shell(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert [text for text in texts(tree) if SHELL.search(text)] == []


def test_shell_would_be_found() -> None:
    for text in ("#!/bin/sh\nid", "set -euo pipefail", "a=$(id)", "if true; then id; fi", "id >/dev/null"):
        assert SHELL.search(text)


def test_jinja_renders_configuration_only() -> None:
    templates = [path.name for path in (ROOT / "include/templates").rglob("*") if path.is_file()]
    assert templates
    assert [
        name for name in templates if not name.endswith((".service.j2", ".timer.j2", ".cfg.j2", ".yaml.j2"))
    ] == []
