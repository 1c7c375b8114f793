"""Configuration for machines, rendered from ``include/templates``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES_DIRECTORY = Path(__file__).resolve().parents[2] / "include" / "templates"

# What a value in a systemd unit may consist of: nothing that systemd splits, expands or ends a line at.
_UNIT_WORD = re.compile(r"[A-Za-z0-9_./:@~-]+")


def environment(finalize: Callable[[object], object] | None = None) -> Environment:
    """Return a Jinja environment for ``include/templates``; a missing value is an error.

    :param finalize: what each printed value passes through, to be safe where it is printed. Without it the
        caller vouches for the values.
    """
    return Environment(
        loader=FileSystemLoader(TEMPLATES_DIRECTORY),
        undefined=StrictUndefined,
        finalize=finalize,
        # Autoescaping is for HTML, and nothing here is HTML.
        autoescape=False,  # noqa: S701
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


class UnitText(str):
    """Text that is quoted for a systemd unit already."""

    __slots__ = ()


def render_unit(name: str, **values: object) -> str:
    """Render a systemd unit; values are plain words (letters, digits, ``_ . / : @ ~ -``) or quoted already.

    :param name: path of the template below ``include/templates``.
    :raises jinja2.UndefinedError: if the template needs a value that is not given.
    :raises ValueError: if a value holds anything else.
    """
    return environment(_check_unit_word).get_template(name).render(values)


def _check_unit_word(value: object) -> str:
    if isinstance(value, UnitText):
        return value
    text = str(value)
    if not _UNIT_WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot be part of a systemd unit")
    return text
