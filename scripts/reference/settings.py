"""The page of all settings: the models' types, defaults and bounds, and what stands below each field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bluegreen.settings.app import App
from scripts.reference.markdown import escaped
from scripts.reference.models import LEFT_OUT, keys_of

REFERENCE = "include/apps/my_perl_app.yaml.example"

HEAD = """\
# Settings

Each app has one YAML file, `include/apps/<app>.yaml`, which is validated when Airflow reads its DAGs: an
error names the file, the key, what was found and what is allowed. Unknown keys are refused. A change counts
from the next deploy on.

This page and the [reference file](#the-reference-file) are made from the models in
`plugins/bluegreen/settings/`.
"""

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

    The keys of the entries of a list, or of a mapping, follow it: ``hooks.before_deploy[].command``,
    ``services.*.address``.
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
        for mark, found_entry in _entries(resolved):
            entry = _resolved(found_entry, definitions)
            if "properties" in entry:
                yield from _walk(entry, f"{key}{mark}.", definitions)


def _entries(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Return the mark and the schema of the entries of a list, or of a mapping whose keys are names."""
    if "items" in schema:
        yield "[]", schema["items"]
    for entry in schema.get("patternProperties", {}).values():
        yield ".*", entry


def _resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return a schema with the definition that it refers to; what it says itself counts more."""
    # A section that may be missing is one of two kinds: itself, or null.
    for one in [schema, *schema.get("anyOf", ())]:
        if "$ref" in one:
            return {**definitions[one["$ref"].rpartition("/")[2]], **schema}
    return schema


def _paragraphs(text: str) -> str:
    """Return a setting's documentation as Markdown; a line that is indented is an example."""
    parts = [
        f"\n\n```yaml\n{line.strip()}\n```\n\n" if line.startswith(" ") else f"{escaped(line)} "
        for line in text.splitlines()
    ]
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


def page(root: Path) -> str:
    """Return the page as Markdown.

    :raises ValueError: naming a setting that its model does not explain.
    """
    definitions, meaning = App.model_json_schema().get("$defs", {}), dict(keys_of(App))
    parts, shown = [HEAD], set()
    for setting in walk():
        # The lists of hooks have entries of one kind.
        key = re.sub(r"(?<=^hooks\.)[a-z_]+\[\]", "*[]", setting.key)
        if key in shown:
            continue
        shown.add(key)
        parts.append(f"{'###' if '.' in key else '##'} `{key}`\n")
        if not setting.is_section:
            parts.append(f"*{_kind(setting.schema, definitions)}*; {_default(setting)}\n")
        parts.append(f"{_paragraphs(meaning[setting.key])}\n")
    text = (root / REFERENCE).read_text(encoding="utf-8")
    parts.append(f"## The reference file\n\n`{REFERENCE}`\n\n```yaml\n{text}```\n")
    return "\n".join(parts)


def _default(setting: Setting) -> str:
    if setting.required:
        return "**required**"
    value = json.dumps(setting.schema.get("default"), ensure_ascii=False)
    return f"default `{value}`"
