"""What a check finds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import unified_diff
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

# In HAProxy's configuration and in files like it: what follows is a password.
_SECRET = re.compile(
    r"(?i)(\bstats\s+auth\s+[^\s:]+:|\breq\.fhdr\(x-preview-key\).*--\s+|\b(?:insecure-)?password\s+|\b\w*(?:password|passwd|secret|token)\w*\s*[=:]\s*)\S+"
)


class Severity(StrEnum):
    """How bad it is."""

    # A deploy would fail, or clients are refused whatever it does.
    ERROR = "error"
    # A deploy would succeed, but somebody should look.
    WARNING = "warning"


class Finding(BaseModel):
    """One thing that is not as it should be.

    :param subject: the droplet, file or setting, by its name.
    :param what: what is wrong, in one line.
    :param advice: what to do, in one line.
    :param diff: of what is there and what should be, as lines without secrets.
    """

    model_config = ConfigDict(frozen=True)

    severity: Severity
    subject: str
    what: str
    advice: str
    diff: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.subject}: {self.what}; {self.advice}"


def error(subject: str, what: str, advice: str, diff: Iterable[str] = ()) -> Finding:
    """Make a finding because of which a deploy would fail."""
    return _finding(Severity.ERROR, subject, what, advice, diff)


def warning(subject: str, what: str, advice: str, diff: Iterable[str] = ()) -> Finding:
    """Make a finding that somebody should look at."""
    return _finding(Severity.WARNING, subject, what, advice, diff)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors before warnings, otherwise in the order of the checks; the same twice is told once."""
    return sorted(dict.fromkeys(findings), key=lambda one: list(Severity).index(one.severity))


def difference(name: str, there: str, expected: str) -> list[str]:
    """Return a unified diff from what is there to what is expected, without secrets."""
    before, after = (masked(text).splitlines() for text in (there, expected))
    found = list(unified_diff(before, after, f"{name} (is)", f"{name} (should be)", lineterm="", n=1))
    return found or ["(only a password differs)"] if there != expected else []


def masked(text: str) -> str:
    """Hide passwords in a configuration."""
    return _SECRET.sub(lambda match: f"{match[1]}***", text)


def _finding(severity: Severity, subject: str, what: str, advice: str, diff: Iterable[str]) -> Finding:
    line = masked(" ".join(what.split()))
    return Finding(
        severity=severity, subject=subject, what=line, advice=advice, diff=tuple(masked(one) for one in diff)
    )
