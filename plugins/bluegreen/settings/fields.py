"""Types of values that several sections share."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bluegreen.patterns import (
    CONNECTION_ID,
    FILE_PATH,
    HOST_NAME,
    LONGEST_HOST_NAME,
    LONGEST_PATH,
    RELATIVE_PATH,
    URL_PATH,
    whole,
)
from bluegreen.settings.section import Line

MOST_WORDS = 200
# Less does not hold one perl with a web server.
LEAST_MEGABYTES = 64

# The signals that some program takes as the order to end.
StopSignal = Literal["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGWINCH"]

HostName = Annotated[str, Field(pattern=whole(HOST_NAME), max_length=LONGEST_HOST_NAME)]
# A host name, or all names of one more label in a domain.
CertifiedName = Annotated[str, Field(pattern=whole(rf"(\*\.)?{HOST_NAME}"), max_length=LONGEST_HOST_NAME)]
UrlPath = Annotated[str, Field(pattern=whole(URL_PATH), max_length=LONGEST_PATH)]
AbsolutePath = Annotated[str, Field(pattern=whole(FILE_PATH), max_length=LONGEST_PATH)]
ConnectionId = Annotated[str, Field(pattern=whole(CONNECTION_ID))]


def relative_path(path: str) -> str:
    """Check a path that leads down from some directory, and nowhere else.

    :raises ValueError: saying what is allowed.
    """
    if len(path) > LONGEST_PATH or not re.fullmatch(RELATIVE_PATH, path):
        raise ValueError(
            "allowed are relative paths of letters, digits and . _ @ + -, without '..', of at most "
            f"{LONGEST_PATH} characters"
        )
    return path


RelativePath = Annotated[str, AfterValidator(relative_path)]


def _memory(text: str) -> str:
    match = re.fullmatch(r"([1-9][0-9]{0,6})([MG])", text)
    if match is None or (match[2] == "M" and int(match[1]) < LEAST_MEGABYTES):
        raise ValueError(
            f"allowed are megabytes or gigabytes as in 512M and 2G, and no less than {LEAST_MEGABYTES}M"
        )
    return text


MemoryMax = Annotated[Line, AfterValidator(_memory)]


def _list_of_words(value: Any) -> Any:
    """Refuse a command that is written as one text, and show it as a list."""
    if isinstance(value, str):
        raise ValueError(f"a command is a list of words: {words_of(value)}")
    return value


def words_of(command: str) -> str:
    """Return a command that is one text as the list of words that a setting has, in YAML."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    needs_shell = not words or set(command) & set("|&;<>()$`*?~\n")
    words = ["bash", "-c", command] if needs_shell else words
    return "[" + ", ".join(_yaml_word(word) for word in words) + "]"


def _yaml_word(word: str) -> str:
    plain = word.isascii() and word.replace("-", "a").replace("/", "a").replace(".", "a").isalpha()
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# A command as a list of words, which no shell takes apart.
Words = Annotated[list[Line], Field(min_length=1, max_length=MOST_WORDS), BeforeValidator(_list_of_words)]


def check_program(command: list[str]) -> list[str]:
    """Check that a command begins with a program: it is run by env, which has options and assignments.

    :raises ValueError: if it does not.
    """
    if not command or not command[0] or "=" in command[0] or command[0].startswith("-"):
        raise ValueError("the first word is the program; write variables into environment")
    return command


_SHAPE = "this is a list of commands, each of them a list of words"


def _list_of_commands(value: Any) -> Any:
    """Refuse one command in the place of a list of commands, and show it as such a list."""
    if isinstance(value, str):
        raise ValueError(f"{_SHAPE}: [{words_of(value)}]")
    if isinstance(value, list) and value and all(isinstance(word, str) and " " not in word for word in value):
        raise ValueError(f"{_SHAPE}: [{words_of(shlex.join(value))}]")
    return value


# Commands that are run one after another.
Commands = Annotated[list[Words], BeforeValidator(_list_of_commands)]
