"""Something to go back to, for tests that roll back by hand."""

from __future__ import annotations

from bluegreen.traffic.agent_answers import ProxyStatus
from tests.sandbox.chaos.leftovers import status_of
from tests.sandbox.stack import Stack


def make_sure_of_a_way_back(stack: Stack) -> None:
    """Deploy, unless the idle droplets run what was kept there last, and traffic has not just come back."""
    status = ProxyStatus.parse(status_of(stack.proxy()))
    idle = stack.idle()
    came_back = status.unacknowledged_revert or "bluegreen_rollback" in str(status.confirmed)
    kept = {str(color): good.revision for color, good in status.good.items()}.get(idle)
    if came_back or kept is None or stack.revisions.get(str(stack.ref_on(idle))) != kept:
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
