"""Leave traffic where it is after a failure: there is no way back from an irreversible release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.settings.app import App
from bluegreen.settings.migrations import Irreversible
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun

FREEZE = "freeze"
# Whether traffic is where it was before the run.
UNMOVED_KEY = "unmoved"


class FreezeOperator(LockedOperator):
    """Make sure that traffic is in one place, and leave it there; the report says what to do."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # For the link.
        self.plan: dict[str, Any] | None = None

    def act(self, run: ThisRun) -> str | None:
        """Return the live color, and push whether it was live before as XCom ``unmoved``.

        :raises DisagreementError: with each proxy's answer and what to do, if one did not follow the others.
        """
        hook, plan = self.proxies(), run.plan
        self.plan = plan.model_dump(mode="json") if plan else None
        # A call that was killed has left the switch undecided: the proxy keeps it if traffic has moved.
        hook.revert()
        live = live_color(hook.statuses())
        unmoved = plan is not None and live is plan.live
        run.push(UNMOVED_KEY, unmoved)
        if unmoved:
            self.log.info("live is %s: traffic has not moved", live)
        else:
            self.log.error("live is %s, and stays: there is no way back from its release", live)
        return live


def freeze(app: App, lock: Any) -> list[FreezeOperator]:
    """Return the task ``freeze`` as a list of one; an empty list if the app refuses irreversible releases.

    :param lock: the run's :class:`HeldLock`; templated.
    """
    if app.migrations.irreversible is Irreversible.REFUSE:
        return []
    return [FreezeOperator(task_id=FREEZE, lock=lock)]
