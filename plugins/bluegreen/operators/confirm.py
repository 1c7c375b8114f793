"""Keep a switch that the bake found good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.seals import demand_done

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class ConfirmOperator(LockedOperator):
    """Keep the switch: the proxies' timers that would take it back are disarmed.

    :param revision: what is live now; templated.
    """

    template_fields: Sequence[str] = (*LockedOperator.template_fields, "revision")

    def __init__(self, *, revision: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.revision = revision

    def act(self, run: ThisRun) -> None:
        """Confirm on every proxy.

        :raises PolicyError: if no bake has found the revision good, whatever state its task is in.
        :raises ProxyError: with code ``reverted`` if a timer was faster.
        """
        demand_done(run, self.app, "final_validation", self.revision, self.held_lock)
        self.proxies().confirm(self.revision)
