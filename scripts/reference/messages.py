"""The page of all messages: what the code can say when something is wrong, with `…` for what varies."""

from __future__ import annotations

import ast
import builtins
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.reference.markdown import code, escaped

# By the function that makes a finding; EITHER is an error only if the next deploy needs the droplet.
EITHER = "judge"
FINDINGS = {
    "error": "Errors",
    EITHER: "Errors, or warnings of droplets that the next deploy does not need",
    "warning": "Warnings",
}
# Python's own exceptions are for programs, but a validator's ValueError is part of a settings error.
VALIDATORS = ("ValueError", "PydanticCustomError")
VARIES = "…"
# Programs of droplets that are not Python: how they end with a message, and what varies in it.
SCRIPTS = (".sh", ".j2", ".pl")
SCRIPT_MESSAGE = re.compile(r"\b(?:die|attempt|fail|give_up) \"([^\"]*)\"")
SCRIPT_VARIES = re.compile(r"\$\(.*|\$\{[^}]*\}|\{\{[^}]*\}\}|\$[\w!]+")

HEAD = """\
# Messages

Every message of the project, as it stands in the code; `…` stands for a part that varies.
[Troubleshooting](../troubleshooting.md) explains the common ones.
"""


@dataclass(frozen=True)
class Message:
    """One message.

    :param kind: the exception's class, a key of :data:`FINDINGS`, or ``script``.
    :param text: with :data:`VARIES` for each part that varies.
    :param advice: of a finding, what to do.
    :param module: where it stands, below the root.
    """

    kind: str
    text: str
    advice: str
    module: str


@cache
def messages(root: Path) -> tuple[Message, ...]:
    """Return all messages, by module and line."""
    found: list[Message] = []
    for folder in ("plugins/bluegreen", "include"):
        for path in sorted((root / folder).rglob("*.py")):
            tree, module = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix()
            found += (one for one in _in_module(tree, module) if re.search(r"\w{2}", one.text))
    for path in sorted((root / "include").rglob("*")):
        if path.suffix in SCRIPTS and path.is_file():
            found += _in_script(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())
    return tuple(dict.fromkeys(found))


def _in_script(text: str, module: str) -> Iterator[Message]:
    for said in re.findall(SCRIPT_MESSAGE, text):
        shape = re.sub(rf"{VARIES}( ?{VARIES})+", VARIES, re.sub(SCRIPT_VARIES, VARIES, said))
        if re.search(r"[a-z]{3}", shape):
            yield Message("script", shape.removesuffix("\\n").rstrip(":"), "", module)


def _in_module(tree: ast.Module, module: str) -> Iterator[Message]:
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            assigned = _assigned(function)
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and (message := _message(node, assigned, module)):
                    yield message


def _message(call: ast.Call, assigned: dict[str, ast.expr], module: str) -> Message | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", EITHER)
    if name in FINDINGS and "/checks/" in module and len(call.args) == 3:
        _, text, advice = (_shape(argument, assigned) for argument in call.args)
        return Message(name, text, advice, module)
    if not name.endswith(("Error", "FailException")) or (hasattr(builtins, name) and name not in VALIDATORS):
        return None
    if name in VALIDATORS and "/settings/" not in module:
        return None
    texts = [shape for argument in call.args if " " in (shape := _shape(argument, assigned))]
    return Message(name, texts[0], "", module) if texts else None


def _assigned(function: ast.FunctionDef) -> dict[str, ast.expr]:
    """Return what each name of a function is last assigned."""
    return {
        target.id: node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _shape(node: ast.expr, assigned: dict[str, ast.expr], depth: int = 0) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else VARIES
    if isinstance(node, ast.JoinedStr):
        text = "".join(_shape(part, {}) if isinstance(part, ast.Constant) else VARIES for part in node.values)
        return re.sub(rf"{VARIES}( ?{VARIES})+", VARIES, text)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _shape(node.left, assigned, depth) + _shape(node.right, assigned, depth)
    if isinstance(node, ast.Name) and node.id in assigned and depth < 3:
        return _shape(assigned[node.id], assigned, depth + 1)
    return VARIES


def page(root: Path) -> str:
    """Return the page as Markdown."""
    found = messages(root)
    parts = [HEAD, "## Findings of the dry run\n"]
    for severity, heading in FINDINGS.items():
        parts.append(f"### {heading}\n\n| finding | advice |\n| --- | --- |")
        rows = [f"| {code(one.text)} | {_advice(one.advice)} |" for one in found if one.kind == severity]
        parts.append("\n".join(dict.fromkeys(rows)) + "\n")
    parts.append("## Errors\n")
    by_module: defaultdict[str, list[Message]] = defaultdict(list)
    for one in found:
        if one.kind not in FINDINGS:
            by_module[one.module].append(one)
    for module, errors in by_module.items():
        parts.append(
            f"### `{module.removeprefix('plugins/bluegreen/')}`\n\n| message | kind |\n| --- | --- |"
        )
        parts.append("\n".join(dict.fromkeys(f"| {code(one.text)} | {one.kind} |" for one in errors)) + "\n")
    return "\n".join(parts)


def _advice(text: str) -> str:
    return "" if text == VARIES else escaped(" ".join(text.split()))
