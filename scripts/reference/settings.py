"""The page of all settings: the models' types, defaults and bounds, and the reference file's comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bluegreen.settings.app import App
from scripts.reference.markdown import escaped

REFERENCE = "include/apps/my_perl_app.yaml.example"
# Set by the file's name.
LEFT_OUT = ("id",)

HEAD = """\
# Settings

Each app has one YAML file, `include/apps/<app>.yaml`, which is validated when Airflow reads its DAGs: an
error names the file, the key, what was found and what is allowed. Unknown keys are refused. A change counts
from the next deploy on.

This page is made from the models in `plugins/bluegreen/settings/` and the comments of the
[reference file](#the-reference-file).
"""

KEY = re.compile(r"(?P<indent> *)(?P<commented># )?(?P<key>[a-z_][a-z0-9_]*):(?: .*)?")
# In a section's comment, above the keys of its lists' entries.
ENTRIES = "# An entry has these keys:"
ENTRY_KEY = re.compile(r" *#   (?P<key>[a-z_.]+): (?P<text>.*)")

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One setting, or one section; ``schema`` is its JSON schema with references resolved."""

    key: str
    schema: Schema
    required: bool

    @property
    def is_section(self) -> bool:
        """Whether it has keys of its own."""
        return "properties" in self.schema


def walk() -> Iterator[Setting]:
    """Return every section and every setting, in the order of the models; keys are dotted.

    The keys of a list's entries follow the list, for example ``hooks.before_deploy[].command``.
    """
    root = App.model_json_schema()
    yield from _walk(root, "", root.get("$defs", {}))


def _walk(schema: Schema, prefix: str, definitions: Schema) -> Iterator[Setting]:
    for name, found in schema["properties"].items():
        if not prefix and name in LEFT_OUT:
            continue
        resolved, key = _resolved(found, definitions), f"{prefix}{name}"
        yield Setting(key, resolved, name in schema.get("required", ()))
        if "properties" in resolved:
            yield from _walk(resolved, f"{key}.", definitions)
        entry = _resolved(resolved.get("items", {}), definitions)
        if "properties" in entry:
            yield from _walk(entry, f"{key}[].", definitions)


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return a schema with the definition that it refers to; what it says itself counts more."""
    if "$ref" in schema:
        return {**definitions[schema["$ref"].rpartition("/")[2]], **schema}
    return schema


def meanings(text: str) -> dict[str, str]:
    """Return what the reference file's comments say about each key, by dotted key.

    A key without a comment shares that of the key before it.
    """
    found: dict[str, str] = {}
    known = {setting.key for setting in walk()}
    comment: list[str] = []
    section: list[str] = []
    before = ""
    for line in text.splitlines():
        key = _key_of(line, section, known)
        if key is None:
            comment = [*comment, line] if line.lstrip().startswith("#") else []
            continue
        found[key] = _paragraph(comment) or before
        for name, meaning in _entry_keys(comment).items():
            found |= {
                one: escaped(f"{meaning[0].upper()}{meaning[1:]}")
                for one in known
                if one.startswith((f"{key}.", f"{key}[].")) and one.endswith(f"[].{name}")
            }
        before, comment = found[key], []
    return found


def _key_of(line: str, section: list[str], known: set[str]) -> str | None:
    match = KEY.fullmatch(line)
    if match is None:
        return None
    del section[len(match["indent"]) // 2 :]
    key = ".".join([*section, match["key"]])
    if key not in known:
        return None
    if not match["commented"]:
        section.append(match["key"])
    return key


def _entry_keys(comment: list[str]) -> dict[str, str]:
    """Return what a section's comment says about the keys of its lists' entries."""
    return {match["key"]: match["text"] for line in _after(comment) if (match := ENTRY_KEY.fullmatch(line))}


def _after(comment: list[str]) -> list[str]:
    lines = [line.strip() for line in comment]
    return comment[lines.index(ENTRIES) :] if ENTRIES in lines else []


def _paragraph(comment: list[str]) -> str:
    """Join a comment's lines; a line that is indented is an example, and is left as it is."""
    parts: list[str] = []
    for line in comment[: len(comment) - len(_after(comment))]:
        text = line.lstrip().removeprefix("#").removeprefix(" ")
        parts.append(
            f"\n\n```yaml\n{text.strip()}\n```\n\n" if text.startswith("  ") else f"{escaped(text)} "
        )
    return "".join(parts).strip()


def _kind(schema: Schema, definitions: Schema) -> str:
    """Describe type and bounds in words."""
    schema = _resolved(schema, definitions)
    if "anyOf" in schema:
        return " or ".join(_kind(one, definitions) for one in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(f"`{one}`" for one in schema["enum"])
    if "properties" in schema:
        return "entry"
    kinds = {"integer": "whole number", "null": "`null`", "array": "list", "object": "mapping"}
    if "format" in schema:
        return f"{schema['format']}".replace("network", " network").replace("ip", "IP")
    kind = kinds.get(schema["type"], str(schema["type"]))
    if "items" in schema:
        kind += f" of: {_kind(schema['items'], definitions)}"
    for pattern, value in schema.get("patternProperties", {}).items():
        kind += f" of keys like `{pattern}` to: {_kind(value, definitions)}"
    return kind + _bounds(schema)


def _bounds(schema: Schema) -> str:
    said = []
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is not None and most is not None:
        said.append(f"{least:,} to {most:,}")
    elif least is not None:
        said.append(f"at least {least:,}")
    if "exclusiveMinimum" in schema:
        said.append(f"more than {schema['exclusiveMinimum']:,}")
    if "exclusiveMaximum" in schema:
        said.append(f"less than {schema['exclusiveMaximum']:,}")
    if "pattern" in schema:
        said.append(f"pattern `{schema['pattern']}`")
    if "minItems" in schema:
        said.append("not empty")
    return "".join(f", {one}" for one in said)


def reference(root: Path) -> str:
    """Return the reference file's text."""
    return (root / REFERENCE).read_text(encoding="utf-8")


def page(root: Path) -> str:
    """Return the page as Markdown.

    :raises ValueError: if the reference file says nothing about a setting.
    """
    text = reference(root)
    definitions, meaning = App.model_json_schema().get("$defs", {}), meanings(text)
    parts, shown = [HEAD], set()
    for setting in walk():
        if not meaning.get(setting.key):
            raise ValueError(f"{REFERENCE} has no comment on {setting.key}")
        # The lists of a section have entries of one kind.
        key = re.sub(r"(?<=\.)[a-z_]+\[\]", "*[]", setting.key)
        if key in shown:
            continue
        shown.add(key)
        parts.append(f"{'###' if '.' in key else '##'} `{key}`\n")
        if not setting.is_section:
            parts.append(f"*{_kind(setting.schema, definitions)}*; {_default(setting)}\n")
        parts.append(f"{meaning[setting.key]}\n")
    parts.append(f"## The reference file\n\n`{REFERENCE}`\n\n```yaml\n{text}```\n")
    return "\n".join(parts)


def _default(setting: Setting) -> str:
    if setting.required:
        return "**required**"
    value = json.dumps(setting.schema.get("default"), ensure_ascii=False)
    return f"default `{value}`"
