"""A rollback goes to what was live, and to nothing that the database is too new for."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import BlueGreenError
from tests.unit.fleets import V1, V2
from tests.unit.operators.previous_releases import (
    EVERYWHERE,
    LIVE_ONCE,
    TAKEN_BACK,
    Records,
    both,
    confirmed,
    go_back,
    target,
)

pytestmark = pytest.mark.usefixtures("trusting", "both_were_live")


@pytest.mark.parametrize("approval", ["never", "asked", "always"])
@pytest.mark.parametrize(
    ("records", "good", "goes"),
    [
        ([], V2, True),
        (LIVE_ONCE, None, True),
        (LIVE_ONCE, V1, True),
        (TAKEN_BACK, None, False),
        (TAKEN_BACK, V1, False),
        ([], V1, False),
        ([], None, False),
    ],
)
def test_a_release_that_was_never_live_cannot_be_rolled_back_to_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
    ledger: Any,
    approval: str,
    records: Records,
    good: str | None,
    goes: bool,
) -> None:
    ledger(records, approval=approval)
    if goes:
        assert (
            go_back(monkeypatch, V2[:7], on_droplets=both(V1, V2), good=confirmed(good) if good else None)[1]
            == V2
        )
    else:
        with pytest.raises(AirflowFailException, match=r"was never live.*deploy it.*emergency"):
            go_back(monkeypatch, V2[:7], on_droplets=both(V1, V2), good=confirmed(good) if good else None)


@pytest.mark.parametrize(
    ("approval", "records", "goes"),
    [
        ("asked", TAKEN_BACK, False),
        ("asked", LIVE_ONCE, True),
        # As on a proxy that is new, which knows of no run.
        ("asked", [], True),
        ("always", [], False),
    ],
)
def test_without_a_name_it_goes_back_to_what_runs_there_unless_a_run_is_known_to_have_failed_with_it(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, approval: str, records: Records, goes: bool
) -> None:
    ledger(records, approval=approval)
    if goes:
        assert go_back(monkeypatch, None, on_droplets=both(V1, V2))[1] == V2
    else:
        with pytest.raises(AirflowFailException, match="was never live"):
            go_back(monkeypatch, None, on_droplets=both(V1, V2))


def test_a_revision_that_was_live_with_another_configuration_only_was_never_live_with_this_one(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    ledger(LIVE_ONCE)
    other = both(V1, V2, configuration="e" * 64)
    with pytest.raises(AirflowFailException, match=r"b{12} was never live with the configuration e{12}"):
        go_back(monkeypatch, V2, on_droplets=other, good=confirmed(V1))


def test_what_a_droplet_knows_as_confirmed_was_live_though_the_run_died_before_its_report(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    ledger([("failed", V2)])
    known = both(V1, V2, confirmed=True)
    found = go_back(monkeypatch, V2, on_droplets=known, good=confirmed(V1), running=V1)
    assert found == (EVERYWHERE, V2, [], target(V2, confirmed=True, is_running=False))


def test_the_release_that_was_kept_last_there_needs_no_ledger(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    hook = ledger([], approval="always")
    hook.ledger.side_effect = BlueGreenError("the disk is full")
    assert go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2))[1] == V2


@pytest.mark.parametrize(("asked_for", "good"), [(None, V2), (V2, V1)])
def test_a_release_from_before_a_contract_is_not_gone_back_to(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, asked_for: str | None, good: str
) -> None:
    hook = ledger(LIVE_ONCE)
    contract = {
        **{"dag_id": "bluegreen_contract__shop", "run_id": "run-7", "trigger": "manual", "started": None},
        **{"triggered_by": "bob", "subject": "contract", "ended": "2099-11-30T12:34:00Z"},
        "contracted": True,
    }
    hook.ledger.return_value = [*hook.ledger.return_value, contract]
    expected = r"b{12} was last live before the contract of 2099-11-30 12:34 UTC \(run run-7\)"
    with pytest.raises(AirflowFailException, match=expected):
        go_back(monkeypatch, asked_for, on_droplets=both(V1, V2), good=confirmed(good))


@pytest.mark.parametrize("known_by", ["the proxies", "the ledger", "both"])
def test_a_release_from_before_an_irreversible_one_is_gone_back_to_only_by_somebody_who_knows(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, known_by: str
) -> None:
    hook, why = ledger(LIVE_ONCE), "0123: drops users.email"
    irreversible = {
        **{"dag_id": "bluegreen_deploy__shop", "run_id": "run-7", "trigger": "manual", "started": None},
        **{"triggered_by": "bob", "subject": "deploy", "ended": "2099-11-30T12:34:00Z", "outcome": "frozen"},
        "irreversible": why,
    }
    if known_by != "the proxies":
        hook.ledger.return_value = [*hook.ledger.return_value, irreversible]
    told: Any = {"on_droplets": both(V1, V2), "good": confirmed(V2)}
    told["irreversible"] = why if known_by != "the ledger" else None
    with pytest.raises(
        AirflowFailException, match=f"b{{12}} was last live before that: .*{why}; deploy a .*`i_know`"
    ):
        go_back(monkeypatch, None, **told)
    assert go_back(monkeypatch, None, i_know=True, **told)[1] == V2


@pytest.mark.parametrize(
    ("later", "goes"),
    [
        ([], True),
        ([("frozen", "x")], False),
        # As where one of several proxies did not follow the switch.
        ([("unclear", "x")], False),
        ([("frozen", "x"), ("live and confirmed", "x")], True),
        ([("frozen", "x"), ("live and confirmed", None)], True),
        ([("frozen", "x"), ("refused before the switch", None)], False),
    ],
)
def test_a_release_that_was_frozen_is_gone_back_to_only_by_its_name(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, later: list[tuple[str, str | None]], goes: bool
) -> None:
    hook = ledger(LIVE_ONCE)
    first = next(one for one in hook.ledger.return_value if one["revision"] == V2)
    hook.ledger.return_value = [
        *hook.ledger.return_value,
        *(
            {
                **first,
                "run_id": f"run-{n}",
                "ended": f"2099-11-0{n}T00:00:00Z",
                "outcome": outcome,
                "irreversible": why,
            }
            for n, (outcome, why) in enumerate(later, 1)
        ),
    ]
    told: Any = {"on_droplets": both(V1, V2), "good": confirmed(V2)}
    assert go_back(monkeypatch, V2, **told)[1] == V2
    if goes:
        assert go_back(monkeypatch, None, **told)[1] == V2
    else:
        with pytest.raises(
            AirflowFailException, match=r"b{12} was not found good when it was live \(run run-1"
        ):
            go_back(monkeypatch, None, **told)


def test_who_knows_of_the_irreversible_does_not_know_of_a_contract(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    hook = ledger(LIVE_ONCE)
    about = {"trigger": "manual", "started": None, "triggered_by": "bob", "subject": "x"}
    contract = {"dag_id": "c", "run_id": "1", "ended": "2099-11-30T12:34:00Z", "contracted": True, **about}
    later = {"dag_id": "d", "run_id": "2", "ended": "2099-12-01T12:34:00Z", "irreversible": "x", **about}
    hook.ledger.return_value = [*hook.ledger.return_value, contract, later]
    with pytest.raises(AirflowFailException, match="before the contract of 2099-11-30"):
        go_back(monkeypatch, None, on_droplets=both(V1, V2), good=confirmed(V2), i_know=True)
