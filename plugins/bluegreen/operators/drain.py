"""Waiting for what still runs on the idle color."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.traffic.drain import Drain, requests, seconds_since_move, sessions_on

if TYPE_CHECKING:
    from bluegreen.color import Color
    from bluegreen.operators.support.this_run import ThisRun

POLL_SECONDS = 1.0


class DrainOperator(PlannedOperator):
    """Wait for the requests and upgraded connections that began on the idle color when it was live.

    The wait ends ``timeouts.drain`` seconds after traffic moved away. Changes nothing.
    """

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Drain`.

        :raises BlueGreenError: if a proxy cannot be asked, or the lock is no longer this run's.
        """
        color = self.run_plan.idle
        # Without traffic, what nothing is in progress on stays so.
        drain = Drain(color=color) if self.run_plan.drained else self._wait(self.proxies(), color)
        if drain.cut:
            self.log.warning("%s on %s given up after %.0f s", requests(drain.cut), color, drain.seconds)
        else:
            self.log.info("nothing runs on %s (waited %.0f s)", color, drain.waited)
        return drain.model_dump(mode="json")

    def _wait(self, hook: ProxiesHook, color: Color) -> Drain:
        start, known = time.monotonic(), 0
        while True:
            statuses = hook.statuses().values()
            left, waited = sessions_on(color, statuses), time.monotonic() - start
            if not known and not left:
                return Drain(color=color)
            # A clock that was put back after the move lengthens no wait.
            seconds = max(waited, seconds_since_move(statuses))
            patience = self.app.timeouts.drain - seconds
            if not left or patience <= 0:
                return Drain(color=color, seconds=round(seconds, 1), waited=round(waited, 1), cut=left)
            if left != known:
                self.log.info("waiting up to %.0f s for %s on %s", patience, requests(left), color)
            known = left
            hook.renew_in_time()
            time.sleep(min(POLL_SECONDS, patience))
