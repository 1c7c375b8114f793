"""The name of a release: of its directory on every droplet."""

from __future__ import annotations

import re

# The revision, and the first digits of the manifest's digest: one revision may be built more than once.
RELEASE = r"[0-9a-f]{40}-[0-9a-f]{16}"
DIGEST = r"[0-9a-f]{64}"


def release_name(revision: str, digest: str) -> str:
    """Return the name of the release of a revision whose manifest has this SHA-256."""
    return f"{revision}-{digest[:16]}"


def revision_of(release: str) -> str:
    """Return the revision of a release."""
    return release.partition("-")[0]


def is_release(name: str) -> bool:
    """Whether a directory's name is one of a release."""
    return bool(re.fullmatch(RELEASE, name))
