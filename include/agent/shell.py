"""Values for a shell script that is sent as it is: a head of assignments, in which every value is quoted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Union

Word = Union[str, int, float]
Settings = Mapping[str, Union[Word, Sequence[Word]]]

_NAME = re.compile(r"[a-z_]{1,40}")


def assignments(settings: Settings) -> str:
    """Return settings as assignments of bash: a text or number is one word, a list an array of words.

    :raises TypeError: for a name that is none, or a value of another type.
    :raises ValueError: for a NUL byte, which no word can have.
    """
    return "".join(f"{_checked(name)}={_value(value)}\n" for name, value in settings.items())


def with_head(script: str, settings: Settings) -> str:
    """Return a script with assignments after its first line, which names the shell."""
    first, _, rest = script.partition("\n")
    return f"{first}\n{assignments(settings)}{rest}"


def _checked(name: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TypeError(f"{name!r:.60} is no variable's name")
    return name


def _value(value: Word | Sequence[Word]) -> str:
    if isinstance(value, (list, tuple)):
        return f"({' '.join(map(_word, value))})"
    return _word(value)


def _word(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"only text and numbers can be words of a script, not {value!r:.60}")
    text = str(value)
    if "\0" in text:
        raise ValueError("a NUL byte cannot be part of a script")
    return shlex.quote(text)
