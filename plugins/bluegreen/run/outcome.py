"""How a deploy ended, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.proxy import messages
from bluegreen.color import Color
from bluegreen.traffic.drain import Drain, requests
from bluegreen.validation.evidence import Evidence

# The outcome of a run whose report died, so that the place of the traffic is unknown.
UNREPORTED = messages.UNREPORTED
# The outcome of a run that moves no traffic and found everything done. Nobody is notified of it.
NOTHING_TO_DO = "nothing to do"


class Outcome(StrEnum):
    """The outcomes of a run; each states where the traffic is."""

    LIVE = "live and confirmed"
    ALREADY_LIVE = "already live"
    ALIGNED = "aligned"
    WOULD_SUCCEED = "would succeed"
    REFUSED = "refused before the switch"
    REFUSED_BY_POLICY = "refused by policy"
    ROLLED_BACK = "rolled back"
    FROZEN = "frozen"
    NOTHING_TO_GO_BACK_TO = "bad, but there is nothing to go back to"
    UNCLEAR = "unclear"

    @property
    def is_good(self) -> bool:
        """Whether the run reached its goal."""
        return self in (Outcome.LIVE, Outcome.ALREADY_LIVE, Outcome.ALIGNED, Outcome.WOULD_SUCCEED)


@dataclass(frozen=True)
class RunFacts:
    """The facts at the end of a run.

    :param subject: what was to be done, for example ``deploy of v2 (0123456789ab)``.
    :param states: task states; mapped ones are keyed ``task_0``, ``task_1`` …
    :param errors: the errors of failed tasks, keyed alike.
    :param moved_back: whether the proxies took this run's switch back, on request or by themselves.
    :param live: the live color, or ``None`` if nothing is live.
    :param live_known: whether the proxies could be asked, and agree.
    :param asked: whether they could be asked at all; then their answers count, and not the states of tasks,
        which anybody can set in Airflow.
    :param kept: whether this run's switch is confirmed.
    :param irreversible: why there is no way back from the release that traffic went to, if there is none. The
        switch to it is kept at once.
    :param judged: whether the release of a kept switch was found good.
    :param first: whether nothing was live before.
    :param unmoved: whether the color that was live before is known to be live.
    :param settled: the outcome and the reason, if there was nothing to do.
    :param drain: how the target color became free, if the run got that far.
    :param still_running: requests in progress on the idle color.
    :param rests_on: the evidence of the bake's verdict, if there was a bake.
    :param by_policy: whether a task failed because of the app's policy.
    """

    subject: str
    states: Mapping[str, str]
    errors: Mapping[str, str]
    moved_back: bool
    live: Color | None
    live_known: bool
    asked: bool
    kept: bool = False
    irreversible: str | None = None
    judged: bool = True
    first: bool = False
    unmoved: bool = False
    settled: tuple[Outcome, str] | None = None
    drain: Drain | None = None
    still_running: int = 0
    rests_on: Evidence | None = None
    by_policy: bool = False


def outcome_of(facts: RunFacts) -> Outcome:
    """Return how the run ended."""
    if facts.settled:
        return facts.settled[0]
    if facts.kept and not facts.judged:
        return Outcome.FROZEN
    if facts.kept or (not facts.asked and facts.states.get("confirm") == "success"):
        return Outcome.LIVE
    if facts.moved_back:
        return Outcome.ROLLED_BACK
    if facts.first and facts.live is not None:
        return Outcome.NOTHING_TO_GO_BACK_TO
    if may_have_switched(facts.states) and facts.states.get("rollback") != "success" and not facts.unmoved:
        return Outcome.UNCLEAR
    return Outcome.REFUSED_BY_POLICY if facts.by_policy else Outcome.REFUSED


def may_have_switched(states: Mapping[str, str]) -> bool:
    """Whether traffic may have moved, by the states of a run's tasks."""
    return states.get("switch_traffic") not in (None, "upstream_failed", "skipped")


def message_of(facts: RunFacts, app_id: str) -> str:
    """Return one line: what happened, why, what is live now and what to do next."""
    outcome = outcome_of(facts)
    if facts.settled:
        return f"{facts.subject}: {outcome}: {facts.settled[1]}; {_live(facts)}"
    if outcome is Outcome.LIVE:
        trouble = "; ".join(facts.errors.values())
        first = "; it is the first release, so there is nothing to roll back to" if facts.first else ""
        clauses = [f"{facts.subject}: {outcome}", f"{trouble or _live(facts)}{first}"]
        if facts.rests_on:
            clauses.append(str(facts.rests_on))
        return "; ".join(clauses + _long_requests(facts, "the switch"))
    cause = f"{facts.subject}: {outcome}: {cause_of(facts)}"
    advice = {
        Outcome.REFUSED_BY_POLICY: "deploy what the app's file allows",
        Outcome.REFUSED: "fix the cause and trigger a new run",
        Outcome.ROLLED_BACK: "the bad release is still on the idle droplets to look at; deploy a fixed one",
        Outcome.FROZEN: _if_frozen(app_id),
        Outcome.NOTHING_TO_GO_BACK_TO: "clients get the bad release; deploy a fixed one",
        Outcome.UNCLEAR: f"if traffic does not come back by itself, run bluegreen_rollback__{app_id}",
    }[outcome]
    moved = "the switch" if outcome is Outcome.FROZEN else "traffic moved back"
    if outcome is Outcome.UNCLEAR and facts.irreversible:
        # Where proxies disagree, the cause has what each of them does, and what to do.
        clauses = [] if facts.asked else [_live(facts), _if_unknown(app_id)]
        if facts.live_known:
            clauses = [_live(facts), _if_frozen(app_id)]
    else:
        clauses = [_live(facts), *_long_requests(facts, moved), advice]
    return "; ".join([cause, *clauses])


def _if_unknown(app_id: str) -> str:
    return (
        "where traffic has moved it stays, for the release is irreversible; when all proxies answer, run "
        f"bluegreen_rollback__{app_id}, which reports the color of each"
    )


def _if_frozen(app_id: str) -> str:
    return (
        "traffic stays there, for the release is irreversible; deploy a fixed one, or go back nevertheless: "
        f"bluegreen_rollback__{app_id} with `i_know`"
    )


def cause_of(facts: RunFacts) -> str:
    """Return why a run failed."""
    # Several tasks may have failed for the same reason.
    return "; ".join(dict.fromkeys(facts.errors.values())) or _silent_failure(facts.states)


def _live(facts: RunFacts) -> str:
    if not facts.live_known:
        return "it is not known who is live" if may_have_switched(facts.states) else "traffic was not touched"
    return f"live is {facts.live}" if facts.live else "nothing is live"


def _long_requests(facts: RunFacts, moved: str) -> list[str]:
    clauses, drain = [], facts.drain
    if drain and drain.cut:
        starts = ("deploy_", "restore_")
        stopped = any(task.startswith(starts) and end == "success" for task, end in facts.states.items())
        fate = " (cut if not done within server.stop_timeout)" if stopped else ""
        clauses.append(f"gave up on {requests(drain.cut)} on {drain.color} after {drain.seconds:.0f} s{fate}")
    elif drain and drain.seconds:
        clauses.append(f"drained {drain.color} in {drain.seconds:.0f} s, nothing cut")
    has_moved = outcome_of(facts) in (Outcome.LIVE, Outcome.ROLLED_BACK, Outcome.FROZEN)
    if facts.still_running and facts.live and has_moved:
        run = "runs" if facts.still_running == 1 else "run"
        began = f"{requests(facts.still_running)} that began before {moved}"
        clauses.append(f"{began} still {run} on {facts.live.other}")
    return clauses


def _silent_failure(states: Mapping[str, str]) -> str:
    failed = sorted(task for task, state in states.items() if state == "failed")
    if failed:
        return f"{', '.join(failed)} ended without a report (killed?), see its log"
    return "the run was ended before it was done"
