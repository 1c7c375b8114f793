"""The distributions that a revision needs, and where a droplet would get them."""

from __future__ import annotations

import hashlib
import re

from bluegreen.checks.facts import Source

# Carton's sources of distributions that the repository lacks; the second keeps what authors have removed.
CPAN_MIRRORS = ("http://cpan.metacpan.org/", "http://backpan.perl.org/")

VENDORED = "vendor/cache/"

_PATHNAME = re.compile(r"^\s+pathname:\s+(\S+)\s*$", re.MULTILINE)


def distributions(snapshot: str) -> list[str]:
    """Return the distributions that a ``cpanfile.snapshot`` lists, as paths below ``authors/id/``."""
    return _PATHNAME.findall(snapshot)


def is_vendored(source: Source) -> bool:
    """Whether the repository contains its distributions; then Carton looks there first."""
    return any(path.startswith(VENDORED) for path in source.files or ())


def not_vendored(source: Source) -> list[str]:
    """Return the distributions that the repository does not contain."""
    files = source.files or frozenset()
    return [
        path for path in distributions(source.snapshot or "") if f"{VENDORED}authors/id/{path}" not in files
    ]


def cache_key(perl_key: str, source: Source) -> str:
    """Return the key of this set of dependencies on a droplet, as ``build.sh`` computes it."""
    return hashlib.sha256(f"{perl_key}{source.made_from}".encode()).hexdigest()[:40]
