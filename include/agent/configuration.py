"""What a release runs with: its variables and delivered files, what they may be, and their digest."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping

from agent.protocol import Configuration, ConfigurationFile

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Bytes of a value. The kernel takes 128 KiB for a variable with its name (``MAX_ARG_STRLEN``).
LARGEST_VALUE = 100_000
# Variables, and bytes of all names and values. The kernel takes 2 MiB of them with a command's words.
MOST_VARIABLES, LARGEST_ENVIRONMENT = 1000, 400 << 10
# Delivered files, bytes of one, and of all: with the rest of a job's program they fit into one request.
MOST_FILES, LARGEST_FILE, LARGEST_FILES = 100, 1 << 20, 4 << 20
# A path below the directory of delivered files. No part of it can be "." or "..".
_PART = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._@+=,-]{1,100}"
PATH = re.compile(rf"{_PART}(?:/{_PART}){{0,7}}")
LONGEST_PATH = 200
# Nobody but root may write a delivered file.
MODES = 0o755
SALT = re.compile(r"[0-9a-f]{32,128}")
# What systemd drops without an error (``env_value_is_valid`` and ``unichar_is_valid`` in its source): what is
# no character, and in some versions every control character but tab and newline.
_DROPPED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufdd0-\ufdef]")


def configuration_digest(salt: str, variables: Mapping[str, str], files: Iterable[ConfigurationFile]) -> str:
    """Return the digest of a configuration: 64 hexadecimal digits.

    It stands in units and logs, where everybody can read it. Without the salt a short secret could be found
    by trying all of them.

    :param salt: hexadecimal digits that only Airflow and root on the droplets know.
    :raises ValueError: if a file's content is not in base64.
    """
    contents = [(one, hashlib.sha256(content_of(one)).hexdigest()) for one in files]
    listed = sorted([one["path"], one["mode"], digest] for one, digest in contents)
    text = json.dumps([sorted(variables.items()), listed], separators=(",", ":"))
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()


def check_configuration(configuration: Configuration) -> None:
    """Make sure that a configuration arrives in a service exactly as it is; no message shows a value.

    :raises ValueError: with the variable or file that would not, and why.
    """
    variables, files = configuration["variables"], configuration["files"]
    if not SALT.fullmatch(configuration["salt"]):
        raise ValueError("its salt is not 32 to 128 hexadecimal digits")
    if len(variables) > MOST_VARIABLES:
        raise ValueError(f"it has {len(variables)} variables; {MOST_VARIABLES} are the most")
    for name, value in variables.items():
        check_variable(name, value)
    size = sum(len(name) + len(value.encode()) + 2 for name, value in variables.items())
    if size > LARGEST_ENVIRONMENT:
        raise ValueError(f"its variables have {size} bytes; {LARGEST_ENVIRONMENT} are the most")
    _check_files(files)
    found = configuration_digest(configuration["salt"], variables, files)
    if not hmac.compare_digest(found, configuration["digest"]):
        raise ValueError(f"its digest is {found}, not {configuration['digest']:.64}")


def check_variable(name: str, value: str) -> None:
    """Make sure that a variable of the environment arrives in a service exactly as it is.

    :raises ValueError: with the reason; it does not show the value.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{name!r:.60} is no name of a variable: letters, digits and _, no digit first")
    if not isinstance(value, str):
        raise ValueError(f"the variable {name} is no text")
    dropped = next((one for one in value if ord(one) & 0xFFFE == 0xFFFE or _DROPPED.match(one)), None)
    if dropped is not None:
        code = f"U+{ord(dropped):04X}"
        raise ValueError(f"the variable {name} contains {code}, which systemd does not pass on")
    if len(value.encode()) > LARGEST_VALUE:
        raise ValueError(f"the variable {name} has more than {LARGEST_VALUE} bytes")


def content_of(file: ConfigurationFile) -> bytes:
    """Return a delivered file's bytes.

    :raises ValueError: if they are not in base64.
    """
    try:
        return base64.b64decode(file["content"], validate=True)
    except binascii.Error:
        raise ValueError(f"the content of the file {file['path']} is not in base64") from None


def _check_files(files: Iterable[ConfigurationFile]) -> None:
    sizes: dict[str, int] = {}
    for file in files:
        path = file["path"]
        if path in sizes:
            raise ValueError(f"the file {path} is delivered twice")
        sizes[path] = _size_of(file)
    if len(sizes) > MOST_FILES:
        raise ValueError(f"it has {len(sizes)} files; {MOST_FILES} are the most")
    if sum(sizes.values()) > LARGEST_FILES:
        raise ValueError(f"its files have {sum(sizes.values())} bytes; {LARGEST_FILES} are the most")
    for path in sizes:
        parents = {path[: match.start()] for match in re.finditer("/", path)}
        for one in parents & sizes.keys():
            raise ValueError(f"{one} is both a file and the directory of {path}")


def _size_of(file: ConfigurationFile) -> int:
    path, mode = file["path"], file["mode"]
    if len(path) > LONGEST_PATH or not PATH.fullmatch(path):
        raise ValueError(f"{path!r:.60} cannot be the path of a delivered file")
    if isinstance(mode, bool) or not isinstance(mode, int) or mode & ~MODES or not mode & 0o400:
        raise ValueError(f"the mode of the file {path} cannot be {mode!r:.20}")
    size = len(content_of(file))
    if size > LARGEST_FILE:
        raise ValueError(f"the file {path} has {size} bytes; {LARGEST_FILE} are the most")
    return size
