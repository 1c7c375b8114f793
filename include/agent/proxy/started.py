"""What the servers of a color were started with, as a run reports it with its switch."""

from __future__ import annotations

from agent.fields import text
from agent.protocol import AgentError, Code, Json
from agent.proxy.messages import StartedRelease
from agent.release_name import DIGEST, RELEASE, revision_of

# Droplets of a color; a droplet's name at DigitalOcean.
MOST_DROPLETS = 1000
NAME = r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}"
REASON = r"[^\x00-\x1f]{1,500}"


def started_in(request: Json) -> StartedRelease:
    """Return what a switch is to, from the field ``started`` of its request.

    :raises AgentError: with the code ``bad_request``.
    """
    started = request.get("started")
    pairings = started.get("pairings") if isinstance(started, dict) else None
    if not isinstance(started, dict) or not isinstance(pairings, dict) or len(pairings) > MOST_DROPLETS:
        raise AgentError(Code.BAD_REQUEST, f"started: {started!r:.60} does not describe what was started")
    release = text(started, "release", RELEASE)
    if revision_of(release) != request.get("revision"):
        raise AgentError(Code.BAD_REQUEST, f"started: {release} is not of {request.get('revision')!r:.60}")
    return {
        "release": release,
        "configuration": text(started, "configuration", DIGEST),
        "pairings": {text({"name": name}, "name", NAME): text(pairings, name, DIGEST) for name in pairings},
    }


def irreversible_in(request: Json) -> str | None:
    """Return why there is no way back from a switch's release, its field ``irreversible``; else ``None``.

    :raises AgentError: with the code ``bad_request``.
    """
    return text(request, "irreversible", REASON) if request.get("irreversible") is not None else None
