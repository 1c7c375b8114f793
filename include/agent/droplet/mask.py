"""Hiding the values of an app's environment in what leaves a droplet."""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path

# Characters that are read of an environment file.
LARGEST_FILE = 1 << 20
# What ends a line for systemd.
LINE_ENDS = "\n\r"
SHORTEST = 4
# A longer spelling is looked for by itself: a pattern of all would be slow to make.
LONGEST_IN_PATTERN = 500
# A short value is part of too many words; it is hidden only where it stands alone.
SHORTEST_ANYWHERE = 8
# What is no secret, and would make nonsense of what it is hidden in.
PLAIN = re.compile(
    r"\d{1,5}|/?|true|false|yes|no|none|null|localhost|127\.0\.0\.1|production|deployment|development|staging|test(ing)?"
    r"|debug|info|notice|warn(ing)?|error|fatal|utf-?8|(c|posix|[a-z]{2}_[a-z]{2})(\.utf-?8)?|utc|https?|postgres(ql)?"
    r"|mysql|mariadb|sqlite|redis|root|password|secret|user(name)?|host(name)?|port|dbname|database",
    re.IGNORECASE,
)
# Of a value that names several things, those that are a secret.
SECRETS_IN = (
    re.compile(r"://[^/@\s:]*:([^/@\s]+)@"),
    re.compile(
        r"(?:pass|pwd|secret|token|key|credential|auth)[\w.-]*[\"']?\s*[=:]\s*[\"']?([^;&,\s\"'}]+)",
        re.IGNORECASE,
    ),
)


def environment_in(text: str) -> dict[str, str]:  # noqa: C901
    """Read an EnvironmentFile step by step as systemd does (``parse_env_file`` in its ``env-file.c``)."""
    found: dict[str, str] = {}
    name, value, state = "", "", "before name"
    for one in f"{text}\n\0":
        if state == "comment" or state == "comment, escaped":
            escaped = state == "comment, escaped"
            state = "comment, escaped" if one == "\\" and not escaped else "comment"
            state = "before name" if one in LINE_ENDS and not escaped else state
        elif state == "before name":
            if one in "#;":
                state = "comment"
            elif not one.isspace():
                name, state = one, "name"
        elif state == "name":
            state = {"\n": "before name", "\r": "before name", "=": "before value"}.get(one, "name")
            name, value = name + one if state == "name" else name.rstrip(), ""
        elif state in ("before value", "value"):
            if one in f"{LINE_ENDS}\0":
                found[name], state = value.rstrip() if state == "value" else value, "before name"
            elif one == "\\":
                state = "value, escaped"
            elif state == "before value" and one in "'\"":
                state = one
            elif state == "value" or not one.isspace():
                value, state = value + one, "value"
        elif state == "value, escaped":
            value, state = value + one.strip(LINE_ENDS), "value"
        elif state == '", escaped':
            value, state = value + (one if one in '"\\`$' else "" if one == "\n" else f"\\{one}"), '"'
        elif one == state:
            state = "before value"
        elif state == '"' and one == "\\":
            state = '", escaped'
        elif one == "\0":
            found[name] = value
        else:
            value += one
    return found


# What a key looks like in a file, as base64 or hexadecimal digits.
KEY = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
KINDS = (re.compile("[0-9]"), re.compile("[A-Za-z]"))


def secrets_in(text: str) -> set[str]:
    """Return what is probably secret in a file of which the most is not, such as a framework's settings."""
    keys = {one for one in KEY.findall(text) if all(kind.search(one) for kind in KINDS)}
    return keys.union(*(pattern.findall(text) for pattern in SECRETS_IN))


def spellings(value: str) -> Iterator[str]:
    """Return how a value may be written in a text, as it is and otherwise."""
    secrets = {value, *(line.strip() for line in value.splitlines())}
    for pattern in SECRETS_IN:
        secrets.update(pattern.findall(value))
    # DBI names what it connects to without the driver.
    secrets.add(re.sub(r"^dbi:[^:]*:", "", value, flags=re.IGNORECASE))
    for one in secrets:
        if len(one) < SHORTEST or PLAIN.fullmatch(one):
            continue
        quoted = urllib.parse.quote(one, safe="")
        plain_perl = one.replace("\\", "\\\\")
        yield from (
            one,
            quoted,
            urllib.parse.quote(one),
            urllib.parse.quote_plus(one),
            re.sub("%..", lambda match: match[0].lower(), quoted),
            json.dumps(one)[1:-1],
            json.dumps(one, ensure_ascii=False)[1:-1],
            html.escape(one),
            html.escape(one, quote=False),
            plain_perl.replace("'", "\\'"),
            re.sub(r'(["$@])', r"\\\1", plain_perl),
            one.replace("'", "'\\''"),
            base64.b64encode(one.encode()).decode(),
        )


class Mask:
    """What is hidden, by the app's environments: each value becomes its name in brackets.

    Values of fewer than 4 characters, and words that are no secrets anywhere, are left as they are.
    """

    def __init__(self, *environments: Mapping[str, str]) -> None:
        self.names: dict[str, str] = {}
        for environment in environments:
            for name, value in environment.items():
                for one in spellings(value):
                    self.names.setdefault(one, name)
        # The longest first, as one may be part of another.
        known = sorted(self.names, key=len, reverse=True)
        self.long = [one for one in known if len(one) > LONGEST_IN_PATTERN]
        short = known[len(self.long) :]
        self.pattern = re.compile("|".join(map(self._where, short))) if short else None

    @staticmethod
    def _where(one: str) -> str:
        return re.escape(one) if len(one) >= SHORTEST_ANYWHERE else rf"(?<!\w){re.escape(one)}(?!\w)"

    def __call__(self, text: str) -> str:
        """Return a text without the values."""
        for one in self.long:
            text = text.replace(one, f"[{self.names[one]}]")
        return self.pattern.sub(lambda match: f"[{self.names[match[0]]}]", text) if self.pattern else text


def environment_of(path: Path) -> dict[str, str]:
    """Return the variables in an environment file; none if there is no file."""
    try:
        # Line ends stay as they are: a value may have one in it.
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return environment_in(file.read(LARGEST_FILE))
    except FileNotFoundError:
        return {}
