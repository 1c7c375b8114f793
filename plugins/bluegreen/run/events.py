"""The ends of a run that people can be notified of."""

from __future__ import annotations

from enum import StrEnum

from bluegreen.run.outcome import NOTHING_TO_DO, Outcome
from bluegreen.settings.app import App


class Event(StrEnum):
    """The kinds of events; each is a key of the setting ``notifications``."""

    SUCCESS = "success"
    FAILURE = "failure"
    ROLLBACK = "rollback"
    DRY_RUN_FAILURE = "dry_run_failure"
    APPROVAL = "approval"

    @property
    def is_bad(self) -> bool:
        """Whether something has to be fixed."""
        return self in (Event.FAILURE, Event.ROLLBACK, Event.DRY_RUN_FAILURE)


def event_of(outcome: str, *, good: bool, dry_run: bool) -> Event | None:
    """Return the event of a run's end; ``None`` for a dry run that found nothing, and if nothing was to do.

    :param outcome: the outcome in its report.
    :param good: whether the run succeeded.
    """
    if dry_run:
        return None if good else Event.DRY_RUN_FAILURE
    if good:
        return None if outcome == NOTHING_TO_DO else Event.SUCCESS
    # A release that traffic stays on, though it is bad, is the worst failure.
    return Event.ROLLBACK if outcome == Outcome.ROLLED_BACK else Event.FAILURE


def connections_for(app: App, event: Event) -> list[str]:
    """Return the Airflow connections that are notified of an event."""
    connections: list[str] = getattr(app.notifications, event.value)
    return connections
