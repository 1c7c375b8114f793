"""A finding: the result of a check."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import unified_diff
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

# Words after which a password follows, in HAProxy's configuration and in similar files.
_SECRET = re.compile(
    r"(?i)(\bstats\s+auth\s+[^\s:]+:|\breq\.fhdr\(x-preview-key\).*--\s+|\b(?:insecure-)?password\s+|\b\w*(?:password|passwd|secret|token)\w*\s*[=:]\s*)\S+"
)


class Severity(StrEnum):
    """The severity of a finding."""

    # A deploy would fail, clients are refused already, or work is done by nobody, or twice.
    ERROR = "error"
    # A deploy would succeed, but somebody should look.
    WARNING = "warning"


class Finding(BaseModel):
    """One problem.

    :param subject: the name of the droplet, file or setting.
    :param what: the problem, in one line.
    :param advice: what to do, in one line.
    :param diff: lines from the actual to the expected state, without secrets.
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
    """Make a finding that makes a deploy fail."""
    return _finding(Severity.ERROR, subject, what, advice, diff)


def warning(subject: str, what: str, advice: str, diff: Iterable[str] = ()) -> Finding:
    """Make a finding that is worth a look."""
    return _finding(Severity.WARNING, subject, what, advice, diff)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors before warnings, otherwise in the order of the checks; duplicates are removed."""
    return sorted(dict.fromkeys(findings), key=lambda one: list(Severity).index(one.severity))


def difference(name: str, there: str, expected: str) -> list[str]:
    """Return a unified diff from the actual to the expected text, without secrets."""
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
