"""Shell scripts for the machines, rendered from ``include/templates``."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from bluegreen.templates import environment

# What a value in a systemd unit may consist of: nothing that systemd splits, expands or ends a line at.
_UNIT_WORD = re.compile(r"[A-Za-z0-9_./:@~-]+")


def _quote_for_shell(value: object) -> str:
    """Each printed value becomes exactly one word of the shell, whatever it holds."""
    # First, because it is what a forgotten value objects to.
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise TypeError(f"only text and numbers can be printed into a script, not {value!r}")
    if "\0" in text:
        raise ValueError("a NUL byte cannot be part of a script")
    return shlex.quote(text)


def _check_unit_word(value: object) -> str:
    text = str(value)
    if not _UNIT_WORD.fullmatch(text):
        raise ValueError(f"{text!r} cannot be part of a systemd unit")
    return text


def render_script(name: str, **values: object) -> str:
    """Render a shell script; every ``{{ }}`` in it is quoted by itself and so stays one word.

    :param name: path of the template below ``include/templates``, for example ``droplet/facts.sh.j2``.
    :param values: text and numbers for the template; lists only to loop over.
    :raises jinja2.UndefinedError: if the template needs a value that is not given.
    :raises TypeError: if a list, a boolean or ``None`` is printed; :raises ValueError: for a NUL byte.
    """
    return environment(_quote_for_shell).get_template(name).render(values)


def render_unit(name: str, **values: object) -> str:
    """Render a systemd unit; values are plain words (letters, digits and ``_ . / : @ ~ -``) only.

    :raises jinja2.UndefinedError: if the template needs a value that is not given.
    :raises ValueError: if a value holds anything else.
    """
    return environment(_check_unit_word).get_template(name).render(values)
