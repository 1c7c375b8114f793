"""When a contract may run, and which releases there is no way back to afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.contract import (
    contracted_since,
    irreversible_since,
    may_have_contracted,
    release_to_contract,
    still_needed,
    why_no_way_back,
)
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.traffic.agent_answers import Confirmed, GoodRelease, Lock, PendingSwitch, ProxyStatus
from tests.started import good
from tests.unit.statuses import status_at_end

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40
OLD_RELEASE, NEW_RELEASE = f"{OLD}-{'c' * 12}", f"{NEW}-{'d' * 12}"
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


FROZEN = Confirmed(color=Color.GREEN, revision=NEW, irreversible="drops it", judged=False)
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
        (Color.GREEN, [status(confirmed=FROZEN)], "its release is frozen; deploy first"),
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
        ([record(1, **LIVE), contract(2, outcome=UNREPORTED)], "run-2"),
        ([record(1, **LIVE), contract(2, contracted=False, outcome=UNREPORTED)], None),
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
        "a contract that died after it had begun",
        "a contract that died before it began",
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


def test_the_release_that_was_live_while_a_contract_ran_can_be_gone_back_to() -> None:
    """A deploy came next, which is no good: its own bake goes back there, and so may a rollback."""
    deploys = {
        hour: record(hour, release=name, revision=of, outcome=Outcome.LIVE, live_revision=of)
        for hour, name, of in ((1, OLD_RELEASE, OLD), (2, NEW_RELEASE, NEW), (4, "later", "f" * 40))
    }
    for changes in ({}, {"outcome": "done"}, {"outcome": UNREPORTED, "found_by": "run-4"}):
        records = [*deploys.values(), contract(3, live_revision=NEW, **changes)]
        assert contracted_since(records, NEW_RELEASE) is None
        since = contracted_since(records, OLD_RELEASE)
        assert since
        assert since.run_id == "run-3"
    # Nobody knows what was live then.
    assert contracted_since([*deploys.values(), contract(3)], NEW_RELEASE)


OLD_LIVE: dict[str, Any] = {"release": OLD_RELEASE, "revision": OLD, "outcome": Outcome.LIVE}
NEW_LIVE: dict[str, Any] = {
    "release": NEW_RELEASE,
    "revision": NEW,
    "outcome": Outcome.LIVE,
    "irreversible": "drops it",
}


@pytest.mark.parametrize(
    ("records", "back_to", "found"),
    [
        ([record(1, **OLD_LIVE), record(2, **NEW_LIVE)], OLD_RELEASE, "run-2"),
        ([record(1, **OLD_LIVE), record(2, **{**NEW_LIVE, "outcome": Outcome.FROZEN})], OLD_RELEASE, "run-2"),
        (
            [record(1, **OLD_LIVE), record(2, revision=NEW, outcome=UNREPORTED, irreversible="x")],
            OLD_RELEASE,
            "run-2",
        ),
        ([record(1, **OLD_LIVE), record(2, **NEW_LIVE), record(3, **OLD_LIVE)], OLD_RELEASE, None),
        ([record(1, **{**NEW_LIVE, "irreversible": None}), record(2, **OLD_LIVE)], NEW_RELEASE, None),
        ([record(2, **{**NEW_LIVE, "outcome": Outcome.FROZEN}), record(3, **OLD_LIVE)], NEW_RELEASE, None),
        ([record(2, revision=NEW, outcome=UNREPORTED, irreversible="x")], NEW_RELEASE, None),
        ([], OLD_RELEASE, None),
    ],
    ids=[
        "live since",
        "frozen since",
        "a run that died after it was switched to",
        "gone back to before, by somebody who knows",
        "nothing irreversible",
        "to a frozen one itself",
        "to one itself whose run died",
        "no ledger",
    ],
)
def test_there_is_no_way_back_to_before_an_irreversible_release(
    records: list[Record], back_to: str, found: str | None
) -> None:
    since = irreversible_since(records, back_to)
    assert (since and since.run_id) == found


CONTRACT = record(2, "contract", contracted=True)


@pytest.mark.parametrize(
    ("records", "confirmed", "found"),
    [
        ([record(1, **OLD_LIVE)], {}, None),
        ([record(1, **OLD_LIVE), CONTRACT], {}, "before the contract of 2026-11-30 14:00 UTC (run run-2)"),
        ([record(1, **OLD_LIVE), record(2, **NEW_LIVE)], {}, "before what is irreversible (drops it)"),
        # The ledger could not be read.
        ([], {"irreversible": "x"}, "before what is irreversible (x)"),
    ],
)
def test_a_dry_run_knows_why_a_rollback_would_be_refused(
    records: list[Record], confirmed: dict[str, Any], found: str | None
) -> None:
    known = Confirmed(color=Color.GREEN, revision=NEW, **confirmed)
    why = why_no_way_back(Color.GREEN, [status(confirmed=known)], records)
    assert why == (found and f"{OLD[:12]} was last live {found}")


HOLDER = "bluegreen_contract__shop/run"


def holding(*, contracts: bool, run_id: str = HOLDER) -> Any:
    about = {"owner": "bob", "run_id": run_id, "ref": "contract", "since": 1.0, "token": 7}
    return status(lock=Lock.model_validate({**about, "contracts": contracts}))


@pytest.mark.parametrize(
    ("state", "proxies", "counts"),
    [
        (None, [], False),
        ("upstream_failed", [], False),
        ("failed", [holding(contracts=False), holding(contracts=False)], False),
        ("failed", [holding(contracts=False), holding(contracts=True)], True),
        ("success", [holding(contracts=True)], True),
        ("skipped", [holding(contracts=True)], True),
        ("failed", [holding(contracts=False), holding(contracts=False, run_id="other")], True),
        ("failed", [status(lock=None)], True),
        ("failed", [], True),
    ],
    ids=[
        "it did not begin",
        "nor here",
        "every proxy knows that nothing was to be run",
        "it was written down",
        "it ran",
        "whatever its state says",
        "another run has the lock",
        "nobody has",
        "no proxy can be asked",
    ],
)
def test_a_contract_counts_unless_every_proxy_knows_that_none_has_begun(
    state: str | None, proxies: list[Any], counts: bool
) -> None:
    statuses = {f"lb-{number}": one for number, one in enumerate(proxies)}
    assert may_have_contracted(state, statuses, HOLDER) is counts
