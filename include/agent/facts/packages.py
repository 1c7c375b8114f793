"""Which of the Debian packages that an app needs are installed, or can be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from agent.facts.bounded import run
from agent.protocol import Json
from agent.system import CallDeadline

INSTALLED = "install ok installed"
LISTS = Path("/var/lib/apt/lists")
# apt would write down what it has read of its lists.
READ_ONLY = ("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=")


def packages(deadline: CallDeadline, wanted: Sequence[str]) -> Json:
    """Return the versions of packages, which are missing, and which of those apt has no source for.

    A droplet whose apt has no lists yet is not believed: a deploy fetches them first.
    """
    versions = _versions(deadline, wanted) if wanted else {}
    missing = [name for name in wanted if name not in versions]
    unknown = _unknown(deadline, missing) if missing and any(LISTS.glob("*_Packages*")) else []
    return {"package_versions": versions, "missing_packages": missing, "unknown_packages": unknown}


def _versions(deadline: CallDeadline, wanted: Sequence[str]) -> dict[str, str]:
    # Of a package that dpkg does not know it writes a line to standard error, and nothing here.
    form = "--showformat=${Package}\\t${Version}\\t${Status}\\n"
    shown = run(deadline, "dpkg-query", "--show", form, "--", *wanted)[1]
    rows = (line.split("\t", 2) for line in shown.splitlines() if line.count("\t") == 2)
    return {name: version for name, version, status in rows if status.endswith(INSTALLED)}


def _unknown(deadline: CallDeadline, missing: Sequence[str]) -> list[str]:
    status, shown = run(deadline, "apt-cache", *READ_ONLY, "policy", "--", *missing)
    if status != 0:
        return []
    # A package's name at the beginning of a line, and below it what apt would install.
    candidates = dict(re.findall(r"(?m)^(\S+):\n(?: +.*\n)*? +Candidate: (.+)$", shown))
    return [name for name in missing if candidates.get(name, "(none)") == "(none)"]
