"""The variables of an app's environment: the section ``environment``, and those in a connection."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from bluegreen.patterns import VARIABLE
from bluegreen.settings.section import hidden

# Bytes. Linux starts no program with a variable of more than 128 KiB, see MAX_ARG_STRLEN in execve(2). All
# variables share the space of the program's arguments.
LARGEST_VALUE = 64 << 10
LARGEST_ENVIRONMENT = 256 << 10

# systemd silently ignores a value with one of these, see `env_value_is_valid` and `unichar_is_valid` in its
# source: control characters other than tabs and line breaks, and code points that are no characters.
_NO_CHARACTERS = "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
_DROPPED = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f\ufdd0-\ufdef{_NO_CHARACTERS}]")

# Set by the project, see bluegreen.release.servers: an app that replaced them would not find its own modules.
_OF_THE_PROJECT = {
    "PATH": "local/bin is in it already",
    "PERL5LIB": "server.lib adds directories to it",
}
# Set by systemd for each service, see systemd.exec(5), "Environment Variables in Spawned Processes".
_OF_SYSTEMD = re.compile(
    r"HOME|LOGNAME|USER|SHELL|INVOCATION_ID|JOURNAL_STREAM|MAINPID|MANAGERPID|NOTIFY_SOCKET|PIDFILE"
    r"|REMOTE_ADDR|REMOTE_PORT|SERVICE_RESULT|EXIT_CODE|EXIT_STATUS|XDG_RUNTIME_DIR|FDSTORE"
    r"|(RUNTIME|STATE|CACHE|LOGS|CONFIGURATION|CREDENTIALS)_DIRECTORY"
    r"|(LISTEN|WATCHDOG|SYSTEMD|MONITOR|TRIGGER|MEMORY_PRESSURE)_[A-Z_]+"
)


def check_variables(variables: Mapping[str, str]) -> None:
    """Check names and values of an environment; no message holds a value.

    :raises ValueError: naming the variable, and what is allowed.
    """
    for name, value in variables.items():
        _check_name(name)
        _check_value(name, value)
    size = sum(len(name.encode()) + len(value.encode()) + 2 for name, value in variables.items())
    if size > LARGEST_ENVIRONMENT:
        raise ValueError(
            f"all variables together have {size} bytes; allowed are {LARGEST_ENVIRONMENT}: use files for "
            "large texts"
        )


def _check_name(name: str) -> None:
    if not re.fullmatch(VARIABLE, name):
        raise ValueError(
            f"{name[:80]!r} is not a variable's name: allowed are letters, digits and _, and no digit in "
            "front"
        )
    if name in _OF_THE_PROJECT:
        raise ValueError(f"{name} is set by the project; {_OF_THE_PROJECT[name]}")
    if name.startswith("BLUEGREEN_"):
        raise ValueError(f"{name}: names that begin with BLUEGREEN_ are the project's; choose another one")
    if _OF_SYSTEMD.fullmatch(name):
        raise ValueError(f"{name} is set by systemd for each service; choose another name")


def _check_value(name: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the value of {name} cannot be written as UTF-8") from None
    if size > LARGEST_VALUE:
        raise ValueError(f"the value of {name} has {size} bytes; allowed are {LARGEST_VALUE}")
    found = _DROPPED.search(value)
    if found:
        raise ValueError(
            f"the value of {name} has the character U+{ord(found[0]):04X}, which systemd does not pass on; "
            "of the control characters, only tabs and line breaks are allowed"
        )


def _text(value: Any) -> Any:
    if value is None:
        raise ValueError('a value is missing; write "" for an empty one')
    return value


def _checked(variables: dict[str, str]) -> dict[str, str]:
    """Check variables, without showing a value."""
    try:
        check_variables(variables)
    except ValueError as error:
        raise hidden(str(error)) from None
    return variables


Environment = Annotated[dict[str, Annotated[str, BeforeValidator(_text)]], AfterValidator(_checked)]
