"""The image of the profile `sandbox` has what its programs import."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What hosting/sandbox/Dockerfile copies, and what of it runs there.
COPIED = ("sandbox", "demo", "examples", "hosting")
STARTED = ("hosting.sandbox.start", "hosting.sandbox.fleet", "sandbox.__main__")


def imported(module: str) -> set[str]:
    """Return the names of the modules that one of the project's own modules imports, anywhere in it."""
    path = ROOT.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.exists():
        # It is a name in a module.
        return set()
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return names


def test_every_distribution_that_the_sandbox_imports_is_in_its_image() -> None:
    own, foreign, todo = set(), set(), set(STARTED)
    while todo:
        module = todo.pop()
        own.add(module)
        for name in imported(module):
            if name.partition(".")[0] in COPIED:
                todo |= {name, *(name.rsplit(".", at)[0] for at in range(1, name.count(".") + 1))} - own
            elif name.partition(".")[0] not in sys.stdlib_module_names:
                foreign.add(name.partition(".")[0])
    assert {"aiohttp", "yaml"} <= foreign
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements-sandbox.txt").read_text(), re.M))
    known = packages_distributions()
    missing = {name for name in foreign if not pinned & {each.lower() for each in known.get(name, [name])}}
    assert not missing
