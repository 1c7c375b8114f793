"""How a deploy ended, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bluegreen.color import Color


class Outcome(StrEnum):
    """Ways for a run to end; each says where the traffic is."""

    LIVE = "live and confirmed"
    REFUSED = "refused before the switch"
    ROLLED_BACK = "rolled back"
    UNCLEAR = "unclear"


@dataclass(frozen=True)
class Facts:
    """What is known at the end of a run.

    :param subject: what was to be done, for example ``deploy of v2 (0123456789ab)``.
    :param states: task states; mapped ones are keyed ``task_0``, ``task_1`` …
    :param errors: what failed tasks said, keyed alike.
    :param moved_back: whether the rollback task moved traffic.
    :param live: who is live now, or ``None`` if nothing is.
    :param live_known: whether the load balancers could be asked.
    """

    subject: str
    states: Mapping[str, str]
    errors: Mapping[str, str]
    moved_back: bool
    live: Color | None
    live_known: bool


def outcome_of(facts: Facts) -> Outcome:
    """Tell how the run ended from its tasks' states."""
    if facts.states.get("confirm") == "success":
        return Outcome.LIVE
    if facts.moved_back:
        return Outcome.ROLLED_BACK
    switched = facts.states.get("switch_traffic") not in (None, "upstream_failed", "skipped")
    return Outcome.UNCLEAR if switched and facts.states.get("rollback") != "success" else Outcome.REFUSED


def message_of(facts: Facts, app_id: str) -> str:
    """Say what happened, why, what is live now and what to do next."""
    outcome = outcome_of(facts)
    if outcome is Outcome.LIVE:
        return f"{facts.subject}: {outcome}; {_live(facts)}"
    cause = "; ".join(facts.errors.values()) or _silent_failure(facts.states)
    advice = {
        Outcome.REFUSED: "mend the cause and trigger a new run",
        Outcome.ROLLED_BACK: "the bad release is still on the idle droplets to look at; deploy a mended one",
        Outcome.UNCLEAR: f"if traffic does not come back by itself, run bluegreen_rollback__{app_id}",
    }[outcome]
    return f"{facts.subject}: {outcome}: {cause}; {_live(facts)}; {advice}"


def _live(facts: Facts) -> str:
    if not facts.live_known:
        return "traffic was not touched"
    return f"live is {facts.live}" if facts.live else "nothing is live"


def _silent_failure(states: Mapping[str, str]) -> str:
    failed = sorted(task for task, state in states.items() if state == "failed")
    if failed:
        return f"{', '.join(failed)} ended without a word (killed?), see its log"
    return "the run was ended before it was done"
