"""The most telling line of what a failed build has written."""

from __future__ import annotations

import json
import pkgutil
import re


def _packages() -> dict[str, dict[str, str]]:
    """Return the tables of Debian's packages, see ``about`` in their file."""
    data = pkgutil.get_data("agent.droplet", "debian_packages.json")
    assert data is not None  # noqa: S101
    found: dict[str, dict[str, str]] = json.loads(data)
    return found


_PACKAGES = _packages()
HEADERS, LIBRARIES = _PACKAGES["headers"], _PACKAGES["libraries"]
PROGRAMS, DISTRIBUTIONS = _PACKAGES["programs"], _PACKAGES["distributions"]
_HEADER = re.compile(r"fatal error: (\S+): No such file or directory")
_LIBRARY = re.compile(r"cannot find -l([\w.+-]+)|Can't link/include C library '([\w.+-]+)'")
_NAMES = "|".join(map(re.escape, PROGRAMS))
_PROGRAM = re.compile(
    rf"(?<![\w.+-])({_NAMES}):? (?:command )?not found|Can't exec \"({_NAMES})\""
    rf"|/usr/bin/env: .({_NAMES}).: No such|(?i:could not find) ({_NAMES})\b"
)
_NO_MODULE = re.compile(r"Can't locate \S+ in @INC(?: \(you may need to install the \S+ module\))?")
# What cpanm writes of the distribution that fails, from the beginning of its build to its end.
_BEGIN = re.compile(r"^(?:Configuring|Building|Building and testing) \S+$", re.MULTILINE)
_FAILED = re.compile(r"^-> FAIL ", re.MULTILINE)
_BUILD_FAILED = re.compile(r"^-> FAIL (?:Installing (?!the dep)|Configure failed)", re.MULTILINE)
_NOT_CONFIGURED = re.compile(r"-> FAIL (Configure failed for ([\w.-]{1,200}))\. See ")
# What a distribution writes that has looked for something itself.
_NOT_FOUND = re.compile(r"\b(?:not find|not found|can't find|cannot find|must be installed)\b", re.IGNORECASE)
_FRAME = "*#!- "
# What cpanm adds to a line: a log that is gone by then.
_LOG_NAME = re.compile(r" See \S+ for details\..*$")
_TELLING = (
    re.compile(r"^! (?:Failed to fetch|Couldn't find|Configure failed|Installing (?!the dep)).*"),
    re.compile(r"^! .*"),
    re.compile(r"^(?:tar|gzip|cp|rm): .*"),
    re.compile(r"^(?:npm (?:ERR!|error) (?!code )\S.*|fatal: .*|error: .*|ERROR.*|E: .*)"),
    re.compile(r".* error: .*"),
    re.compile(r"^.*: command not found$|^make(?:\[\d+\])?: \*\*\* .*"),
    re.compile(r".* at \S+ line \d+.*"),
)
# Characters of the line that is returned.
LONGEST = 500


def failure_cause(output: str) -> str:
    """Return the line of a failed build's output that explains it best, and a package that helps."""
    failed = _of_the_failed_distribution(output)
    cause = _missing_piece(output if failed is None else failed)
    cause = cause or _not_configured(output, failed or "") or _line(output)
    return re.sub(r"[\x00-\x1f\x7f]", " ", _LOG_NAME.sub("", cause)).strip()[:LONGEST]


def _of_the_failed_distribution(output: str) -> str | None:
    """Return what cpanm's log has of the first distribution that failed; what others tried does not count.

    None if it is no such log; empty if it is none of a distribution that failed while it was built.
    """
    if not _FAILED.search(output):
        return None
    failed = _BUILD_FAILED.search(output)
    if not failed:
        return ""
    begun = [found.start() for found in _BEGIN.finditer(output[: failed.start()])]
    return output[begun[-1] if begun else 0 : failed.start()]


def _missing_piece(output: str) -> str:
    """Return what names a missing header, library, module or program, in this order; empty if none is."""
    if found := _HEADER.search(output):
        # The longest beginning of the header's path counts: magick/api.h is another package's than magick/.
        begins = [one for one in HEADERS if found[1] == one or (one[-1] == "/" and found[1].startswith(one))]
        return f"{found[0]}{_advice(HEADERS[max(begins, key=len)] if begins else '')}"
    if found := _LIBRARY.search(output):
        return f"{found[0]}{_advice({**HEADERS, **LIBRARIES}.get(found[1] or found[2], ''))}"
    if found := _NO_MODULE.search(output):
        return found[0]
    if found := _PROGRAM.search(output):
        return f"{found[0]}{_advice(PROGRAMS[next(filter(None, found.groups()))])}"
    return ""


def _not_configured(output: str, failed: str) -> str:
    """Return which distribution has not found what it looks for itself; empty if none is like that."""
    first = _BUILD_FAILED.search(output)
    found = _NOT_CONFIGURED.match(output, first.start()) if first else None
    if not found:
        return ""
    lines = (line.strip(_FRAME) for line in failed.splitlines() if _NOT_FOUND.search(line))
    own = next(lines, "")
    return (
        f"{found[1]}{': ' if own else ''}{own}{_advice(DISTRIBUTIONS.get(found[2].rpartition('-')[0], ''))}"
    )


def _advice(package: str) -> str:
    return f" (add the Debian package {package} to fleet.packages)" if package else ""


def _line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in _TELLING:
        for line in lines:
            if pattern.match(line):
                return line
    return lines[-1] if lines else "no reason given"
