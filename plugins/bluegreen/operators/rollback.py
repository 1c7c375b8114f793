"""Take a switch back after a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.errors import ProxyError
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.run.report import RollbackResult
from bluegreen.traffic.live import live_color
from bluegreen.traffic.own_switch import is_taken_back

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class RollbackOperator(LockedOperator):
    """Move traffic back to the color that was live before; verify that it is there.

    If traffic never moved, there is only the verification.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # For the link.
        self.plan: dict[str, Any] | None = None

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`~bluegreen.run.report.RollbackResult`.

        :raises ProxyError: if traffic is not, or cannot be brought, where it was.
        """
        hook = self.proxies()
        plan = run.plan
        self.plan = plan.model_dump(mode="json") if plan else None
        # Without a plan nothing was switched; HAProxy may not even run yet.
        answers = hook.revert() if plan else {}
        moved = {name: result.milliseconds for name, result in answers.items() if result.reverted}
        statuses = hook.statuses()
        live = live_color(statuses)
        expected = plan.live if plan else live
        if expected is None and live is not None:
            self.log.warning(
                "nothing was live before this run, so there is nothing to go back to: %s stays", live
            )
            expected = live
        if live is not expected:
            raise ProxyError(
                f"traffic goes to {live}, but before this run it went to {expected}; look at the "
                f"proxies, then run bluegreen_rollback__{self.app_id}"
            )
        self.log.info("live is %s; traffic moved back on: %s", live, moved or "none, it had not moved")
        return RollbackResult(
            moved=bool(moved),
            # A proxy's timer may have been faster.
            taken_back=is_taken_back(statuses, run.holder),
            live=live,
            milliseconds=max(moved.values(), default=None),
        ).model_dump(mode="json")
