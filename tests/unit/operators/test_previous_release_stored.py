"""Droplets that lack what a rollback goes back to get it from the artifact store."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks.facts import AppServer
from bluegreen.errors import BlueGreenError
from bluegreen.operators import previous_release
from bluegreen.release.release import pairing
from bluegreen.settings.app_file import load_app
from tests.unit.fleets import DIGEST, V1, V2, facts, released
from tests.unit.operators.previous_releases import (
    EVERYWHERE,
    FLEET,
    NAMES,
    SKIPPED,
    TAKEN_BACK,
    Records,
    both,
    confirmed,
    go_back,
    there,
)
from tests.unit.runs import APP

pytestmark = pytest.mark.usefixtures("trusting", "both_were_live")


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let the artifact store have whatever is asked for; return what that is."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(previous_release, "stored_release", lambda _store, *about: asked.append(about))
    return asked


def now(name: str, revision: str = V2) -> str:
    """The pairing of a release on a droplet, with the unit that the settings of now give."""
    [one] = [one for one in FLEET.green if one.name == name]
    return pairing(load_app(APP), released(revision), DIGEST, str(one.private)).digest


TROUBLE = BlueGreenError("green cannot take the traffic: green-1 is not healthy: lb-1 does not know it")


@pytest.mark.usefixtures("proxies")
def test_droplets_that_were_all_replaced_get_what_was_confirmed_from_the_artifact_store(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    known = confirmed(V2)
    empty = [facts(None), facts(None)]
    started = dict.fromkeys(NAMES)
    found = go_back(monkeypatch, None, on_droplets=empty, good=known, running=TROUBLE, started=started)
    assert found[:3] == (EVERYWHERE, V2, [])
    assert found[3]["from_store"] == list(NAMES)
    assert found[3]["pairings"] == {name: now(name) for name in NAMES}
    assert stored == [(known.release, known.configuration)]


@pytest.mark.usefixtures("proxies")
def test_one_that_was_replaced_gets_it_from_the_store_and_the_other_starts_what_it_has(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    known = confirmed(V2).model_copy(update={"pairings": {"green-1": confirmed(V2).pairings["green-1"]}})
    two = [there(V2), facts(None)]
    found = go_back(monkeypatch, None, on_droplets=two, good=known, running=V1, started={})
    assert found[3]["from_store"] == ["green-2"]
    assert found[3]["pairings"] == {"green-1": known.pairings["green-1"], "green-2": now("green-2")}


@pytest.mark.usefixtures("proxies")
def test_what_provisioning_has_started_on_a_replaced_droplet_counts_as_what_was_confirmed(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    started = {name: now(name) for name in NAMES}
    two = [there(V2, name=name, pairing=now(name)) for name in NAMES]
    found = go_back(monkeypatch, None, on_droplets=two, good=confirmed(V2), running=V2, started=started)
    assert found[:3] == ([], V2, SKIPPED)
    assert (found[3]["pairings"], stored) == (started, [])


@pytest.mark.usefixtures("proxies")
@pytest.mark.parametrize(
    ("on_droplets", "from_store"),
    [
        ([facts(None), facts(None)], ["green-1", "green-2"]),
        (both(V1), ["green-1", "green-2"]),
        ([there(V1, V2), there(V1, name="green-2")], ["green-2"]),
    ],
)
def test_an_older_release_that_was_live_and_is_not_on_all_droplets_comes_from_the_store(
    monkeypatch: pytest.MonkeyPatch,
    stored: list[tuple[str, str]],
    on_droplets: list[AppServer],
    from_store: list[str],
) -> None:
    found = go_back(monkeypatch, V2[:7], on_droplets=on_droplets, good=confirmed(V1), running=V1, started={})
    assert found[:3] == (EVERYWHERE, V2, [])
    assert found[3]["from_store"] == from_store
    had = confirmed(V2).pairings
    assert found[3]["pairings"] == {name: now(name) if name in from_store else had[name] for name in NAMES}
    assert stored == [(released(V2), DIGEST)]


@pytest.mark.parametrize(
    ("records", "asked_for"),
    [
        (TAKEN_BACK, V2),
        ([], V2),
        ([("live and confirmed", "b1" + "0" * 38), ("live and confirmed", "b2" + "0" * 38)], "b"),
    ],
)
def test_an_older_release_that_was_never_live_or_is_ambiguous_does_not_come_from_the_store(
    monkeypatch: pytest.MonkeyPatch,
    stored: list[tuple[str, str]],
    ledger: Any,
    records: Records,
    asked_for: str,
) -> None:
    ledger(records)
    with pytest.raises(AirflowFailException, match=rf"no release on all droplets of green .*{asked_for};"):
        go_back(monkeypatch, asked_for, on_droplets=both(V1), good=confirmed(V1), running=V1, started={})
    assert stored == []


@pytest.mark.usefixtures("proxies")
def test_without_the_artifact_the_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = [facts(None), facts(None)]
    why = r"green cannot take .*; green-1, green-2: b{12} is not there any more, and the .*; deploy it"
    with pytest.raises(AirflowFailException, match=why):
        go_back(monkeypatch, None, on_droplets=empty, good=confirmed(V2), running=TROUBLE, started={})
