"""Whether the live release answers the health path that HAProxy is about to ask it for."""

from __future__ import annotations

HEALTH_PATH_ADVICE = "set a path that the live release answers with 200, too, until another is live"


def lost_by_health_path(path: str, status: int | None) -> str | None:
    """Say why HAProxy, once it asks for a path, would take a live droplet out of the traffic.

    The droplet, which HAProxy takes for up so far, is the subject of what is said.

    :param path: the setting ``health.path``.
    :param status: what the droplet answers there. That it answers nothing (``None``), or with 5xx, says
        nothing of the path: HAProxy's own checks judge that.
    """
    if status is None or status == 200 or status >= 500:
        return None
    return (
        f"is live and answers {path} (setting health.path) with status {status}, so HAProxy would give it no "
        "more requests"
    )
