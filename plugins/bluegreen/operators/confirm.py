"""Keep a switch that the bake found good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.holding_lock import LockedOperator

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

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that a bake has found the revision good, whatever state its task is in.

        :raises PolicyError: if none has.
        """
        self.seals(run).require_revision(self.revision)
        self.seals(run).require_done("final_validation", self.revision)

    def act(self, run: ThisRun) -> None:
        """Confirm on every proxy.

        :raises ProxyError: with code ``reverted`` if a timer was faster.
        """
        self.proxies().confirm(self.revision)
