"""The example app with other settings."""

from __future__ import annotations

from typing import Any

from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app


def app_with(**sections: Any) -> App:
    """Return the example app; the keys of a section, or another value as a whole, replace the example's."""
    data = load_app("my_perl_app").model_dump(mode="json", exclude_unset=True)
    for name, value in sections.items():
        data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
    return App.model_validate(data)
