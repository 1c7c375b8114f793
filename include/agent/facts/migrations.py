"""Asking a release which of its migrations are pending, where it can write nothing on the droplet."""

from __future__ import annotations

from agent.facts.bounded import LONGEST_LINE
from agent.facts.loading import CAGED, caged
from agent.migration import STATUS_SECONDS, pending_in
from agent.protocol import Json
from agent.system import CallDeadline


def migrations(deadline: CallDeadline, request: Json) -> Json:
    """Run the app's command that says what is pending.

    :param request: :class:`agent.protocol.LoadRequest`, with that command.
    :return: ``status`` (None if the command was not run) and ``pending``, or why that is not known.
    """
    status, output, hide = caged(deadline, request, STATUS_SECONDS)
    lines = output.splitlines()
    said = "\n".join(line for line in lines if line != CAGED)
    is_caged = status == 124 or CAGED in lines
    return {"status": status if is_caged else None, "pending": hide(pending_in(said))[:LONGEST_LINE]}
