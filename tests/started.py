"""What a switch is to, as a run reports it to the proxies."""

from __future__ import annotations

from typing import Any

CONFIGURATION, PAIRING = "c0" * 32, "e2" * 32


def release_of(revision: str) -> str:
    """Return the release of a revision."""
    return f"{revision}-{'d1' * 8}"


def started(revision: str, *droplets: str, configuration: str = CONFIGURATION) -> dict[str, Any]:
    """Return what droplets were started with, as ``agent.proxy.messages.StartedRelease``."""
    pairings = dict.fromkeys(droplets, PAIRING)
    return {"release": release_of(revision), "configuration": configuration, "pairings": pairings}


def good(revision: str, *droplets: str, **changes: Any) -> dict[str, Any]:
    """Return what was confirmed on a color, as ``agent.proxy.messages.GoodRelease``."""
    return {"revision": revision, **started(revision, *droplets), **changes}
