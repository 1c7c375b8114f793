"""Files and templates that are sent to machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES_DIRECTORY = Path(__file__).resolve().parents[2] / "include" / "templates"


def template_text(name: str) -> str:
    """Return a file that is sent unchanged, for example ``droplet/wait_healthy.pl``."""
    return (TEMPLATES_DIRECTORY / name).read_text(encoding="utf-8")


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
