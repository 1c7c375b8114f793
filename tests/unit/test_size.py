"""How long a production file, and a function in it, may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("dags", "demo", "examples", "hosting", "include", "plugins", "sandbox", "scripts")
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def programs() -> list[str]:
    """Python files, and scripts of any language, by their paths."""
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if is_program(path)]
    assert found
    return sorted(str(path.relative_to(ROOT)) for path in found)


def is_program(path: Path) -> bool:
    if not path.is_file() or "__pycache__" in path.parts:
        return False
    with path.open("rb") as file:
        return path.suffix in (".py", ".pl", ".psgi", ".sh") or file.read(2) == b"#!"


def functions(path: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".py") or text.startswith(("#!/usr/bin/env python", "#!/usr/bin/python")):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


@pytest.mark.parametrize("path", programs())
def test_a_file_is_short_enough_to_read_at_once(path: str) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.parametrize("path", programs())
def test_a_function_is_short_enough_to_read_at_once(path: str) -> None:
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(path)}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}
