"""Whether the live release answers the health path that HAProxy is about to request."""

from __future__ import annotations

from bluegreen.settings.app import App
from bluegreen.traffic.good_answer import allowed, is_good

HEALTH_PATH_ADVICE = (
    "set a path, a host and statuses that the live release answers with, too, until another is live"
)


def lost_by_health_path(app: App, status: int | None) -> str | None:
    """Return why HAProxy, with the new settings, would take a live droplet out of the traffic.

    The droplet, which is up in HAProxy so far, is the subject of the sentence.

    :param status: the droplet's answer to ``health.path``. No answer (``None``) and 5xx say nothing about the
        path: HAProxy's own checks judge those.
    """
    path = app.health.path
    statuses = app.good_statuses(path)
    if status is None or is_good(status, statuses) or status >= 500:
        return None
    return (
        f"is live and answers {path} (setting health.path; asked {app.traffic.asked}) with status {status}, "
        f"allowed are {allowed(statuses)}, so HAProxy would give it no more requests"
    )
