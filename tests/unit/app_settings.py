"""Settings of an app for tests: those of the reference file, with some others."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.app_files import REFERENCE


def settings_of(
    directory: Path,
    server: str = "",
    connections: str = "",
    more: str = "",
    replaced: Mapping[str, str] | None = None,
) -> App:
    """Write the app file of ``shop``, and read it.

    :param server: lines of the section ``server``; likewise ``connections``.
    :param more: sections that the reference file only shows in comments.
    :param replaced: other texts of the reference file, and what stands there instead.
    :raises SettingsError: if they are not valid.
    """
    text = REFERENCE.read_text(encoding="utf-8")
    added = {"server": server, "connections": connections}
    changes = {
        f"\n{name}:\n": f"\n{name}:\n{textwrap.indent(lines, '  ')}\n" for name, lines in added.items()
    }
    for old, new in (changes | dict(replaced or {})).items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shop.yaml").write_text(text + more, encoding="utf-8")
    return load_app("shop", directory)
