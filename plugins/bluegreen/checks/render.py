"""Findings as text."""

from __future__ import annotations

from collections.abc import Sequence

from bluegreen.checks.finding import Finding, Severity

# Reading cannot reveal these, so no finding covers them.
NEVER_CHECKED = (
    "not checked, because only a change could show it: whether the token may create droplets, and whether a "
    "release that is not built yet builds and answers"
)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as lines, with their advice and their diffs below them."""
    width = max((len(one.subject) for one in findings), default=0)
    lines = []
    for one in findings:
        lines.append(f"{one.severity:8} {one.subject:{width}}  {one.what}")
        lines.append(f"{'':8} {'':{width}}  -> {one.advice}")
        lines += [f"{'':12}{line}" for line in one.diff]
    return lines


def summary(findings: Sequence[Finding], not_checked: Sequence[str] = (), pending: str = "") -> str:
    """Return how many there are, the worst, and what was not checked, in one line.

    :param pending: which migrations are pending, in words.
    """
    found = f"{_found(findings)}; {pending}" if pending else _found(findings)
    return "; not checked: ".join([found, *not_checked])


def _found(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing found"
    counts = [
        f"{count} {severity}{'s' if count > 1 else ''}"
        for severity in Severity
        if (count := sum(one.severity is severity for one in findings))
    ]
    return f"{', '.join(counts)}; the worst: {findings[0]}"
