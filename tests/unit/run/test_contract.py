"""When a contract may run, and which releases there is no way back to afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.contract import contracted_since, release_to_contract, still_needed
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.traffic.agent_answers import Confirmed, GoodRelease, PendingSwitch, ProxyStatus
from tests.started import good
from tests.unit.statuses import status_at_end

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40
GOOD = {
    Color.BLUE: GoodRelease.model_validate(good(OLD, "blue-1")),
    Color.GREEN: GoodRelease.model_validate(good(NEW, "green-1")),
}


def status(age: float | None = 1000.0, **changes: Any) -> Any:
    """A proxy with green live, confirmed so many seconds ago."""
    at = None if age is None else 5000.0 - age
    confirmed = Confirmed(color=Color.GREEN, revision=NEW, at=at)
    found = status_at_end(Color.GREEN)
    known = {"now": 5000.0, "good": GOOD, "pending": None, "confirmed": confirmed}
    vars(found).update({**known, **changes})
    return found


def test_the_live_release_runs_a_contract_once_all_proxies_have_confirmed_it() -> None:
    assert release_to_contract(Color.GREEN, {"lb-1": status(), "lb-2": status()}).revision == NEW


WAITING = PendingSwitch.model_validate(
    {"from": "blue", "to": "green", "revision": NEW, "run_id": "deploy/x", "deadline": 6000.0}
)


@pytest.mark.parametrize(
    ("live", "statuses", "why"),
    [
        (
            Color.GREEN,
            [status(), status(pending=WAITING)],
            "lb-2 has a switch to green that is not",
        ),
        (Color.GREEN, [status(), status(good={})], "the proxies do not agree which release of green"),
        (Color.GREEN, [status(confirmed=None)], "that was not confirmed everywhere"),
    ],
)
def test_a_contract_is_refused_while_anything_is_undecided(
    live: Color, statuses: list[ProxyStatus], why: str
) -> None:
    known = {f"lb-{number}": one for number, one in enumerate(statuses, 1)}
    with pytest.raises(BlueGreenError, match=why):
        release_to_contract(live, known)


@pytest.mark.parametrize(
    ("age", "needed"), [(10.0, True), (999.0, True), (1000.0, False), (2000.0, False), (None, False)]
)
def test_the_release_from_before_is_needed_for_a_while_after_the_switch(
    age: float | None, needed: bool
) -> None:
    why = still_needed(Color.GREEN, {"lb-1": status(age)}, 1000)
    assert bool(why) is needed
    if why:
        assert f"blue has {OLD[:12]} to go back to for 1000 s (setting migrations.keep_warm)" in why


def test_without_a_release_from_before_nothing_is_needed() -> None:
    only = {Color.GREEN: GOOD[Color.GREEN]}
    assert still_needed(Color.GREEN, {"lb-1": status(1.0, good=only)}, 1000) is None


def record(hour: int, kind: str = "deploy", **changes: Any) -> Record:
    about = {"dag_id": f"bluegreen_{kind}__shop", "run_id": f"run-{hour}", "trigger": "manual"}
    known = {**about, "triggered_by": "alice", "subject": kind, "started": None}
    return Record.model_validate({**known, "ended": NOON + timedelta(hours=hour), **changes})


def contract(hour: int, **changes: Any) -> Record:
    return record(hour, "contract", **{"contracted": True, "outcome": "failed", **changes})


LIVE = {"release": "old", "outcome": Outcome.LIVE}


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([record(1, **LIVE)], None),
        ([record(1, **LIVE), contract(2)], "run-2"),
        ([record(1, **LIVE), contract(2), record(3, **LIVE)], None),
        ([record(1, **LIVE), contract(2), record(3, **{**LIVE, "outcome": "rolled back"})], "run-2"),
        ([record(1, **LIVE), contract(2, contracted=False)], None),
        ([record(1, **LIVE), contract(2, contracted=False, outcome=UNREPORTED)], "run-2"),
        ([contract(2)], "run-2"),
        ([record(1, **LIVE), contract(2), contract(4)], "run-4"),
        ([], None),
    ],
    ids=[
        "no contract",
        "contract since, though it failed",
        "live again since",
        "tried again, and rolled back",
        "a contract that was refused",
        "a contract that died without a report",
        "the release is not in the ledger",
        "the last of several",
        "no ledger",
    ],
)
def test_a_release_that_was_live_before_a_contract_only_may_miss_what_that_has_removed(
    records: list[Record], found: str | None
) -> None:
    since = contracted_since(records, "old")
    assert (since and since.run_id) == found
