"""The commented app file that newcomers copy: every setting with its documentation and its default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from enum import Enum
from typing import Any

import yaml
from pydantic import BaseModel

from bluegreen.settings.app import App
from scripts.reference.models import Setting, settings_of

WIDTH = 125

HEAD = (
    "The reference of every setting, and a file to begin with. Copy it to include/apps/<app>.yaml: a file "
    "that ends with .yaml is an app, and its name is the app's id. The id names the DAGs "
    "(bluegreen_deploy__<app>) and everything of the app on a droplet: the user app-<app>, "
    "its service, /opt/app-<app>.",
    "Keys that are commented out show their default. Unknown keys are refused.",
    "Secrets never stand here: they are in the Airflow connections named below.",
    "This file is made by `make docs` from plugins/bluegreen/settings/.",
)


def example() -> str:
    """Return the file's text."""
    head = (line for paragraph in HEAD for line in _comment(paragraph, "# "))
    parts = ("\n".join(lines_of(setting)) for setting in settings_of(App))
    return "\n\n".join(["\n".join(head), *parts]) + "\n"


def lines_of(
    setting: Setting, indent: str = "", mark: str = "", entry: type[BaseModel] | None = None
) -> Iterator[str]:
    """Return the lines of a setting.

    :param mark: what comments its key out, because the section that it belongs to is.
    :param entry: the model of entries that the section has explained already.
    """
    section, own = setting.section, setting.entry or _entry_of_all(setting.section)
    yield from _comment(setting.text, f"{indent}{mark or '# '}")
    if own and own is not entry:
        yield f"{indent}{mark or '# '}An entry has these keys:"
        yield from _entry_keys(own, f"{indent}{mark or '# '}  ")
    is_shown = setting.field.is_required() or (section and setting.field.default is not None)
    out = mark or ("" if is_shown else "# ")
    if section is None:
        yield f"{indent}{out}{setting.name}: {_text(_value(setting))}"
        return
    yield f"{indent}{out}{setting.name}:"
    for one in settings_of(section):
        yield from lines_of(one, indent if out else f"{indent}  ", f"{out}  " if out else "", own)


def _entry_of_all(section: type[BaseModel] | None) -> type[BaseModel] | None:
    """Return the model of the entries of a section's lists, if all of them have the same."""
    found = {setting.entry for setting in settings_of(section)} if section else set()
    return found.pop() if len(found) == 1 else None


def _entry_keys(entry: type[BaseModel], start: str, prefix: str = "") -> Iterator[str]:
    for setting in settings_of(entry):
        text = f"{prefix}{setting.name}: {' '.join(setting.text.split())}"
        yield from textwrap.wrap(
            text, WIDTH, initial_indent=start, subsequent_indent=f"{start}  ", break_on_hyphens=False
        )
        if setting.section:
            yield from _entry_keys(setting.section, start, f"{setting.name}.")


def _comment(text: str, start: str) -> Iterator[str]:
    """Return a text as comments; an indented line is an example, and is left as it is."""
    paragraph: list[str] = []
    for line in [*text.splitlines(), None]:
        if line is not None and not line.startswith(" "):
            paragraph.append(line)
            continue
        yield from textwrap.wrap(
            " ".join(paragraph),
            WIDTH,
            initial_indent=start,
            subsequent_indent=start,
            break_long_words=False,
            break_on_hyphens=False,
        )
        paragraph = []
        if line is not None:
            yield f"{start}{line}"


def _value(setting: Setting) -> Any:
    """Return the value that is shown: an example where there is one, else the default."""
    if setting.field.examples:
        return setting.field.examples[0]
    return setting.field.get_default(call_default_factory=True)


def _text(value: Any) -> str:
    """Return a value in YAML, in one line."""
    if isinstance(value, Enum):
        return _text(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_text(key)}: {_text(one)}' for key, one in value.items())}}}"
    quoted = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, str):
        return quoted
    try:
        # Inside a list more has to be quoted than elsewhere.
        return value if " " not in value and yaml.safe_load(f"[{value}]") == [value] else quoted
    except yaml.YAMLError:
        return quoted
