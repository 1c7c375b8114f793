"""What the page shows of an app, from what its runs have left."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.page.records import AppRecords, Ended, Left
from bluegreen.page.view import AppView, ColorView
from bluegreen.page.view import app_view as view_of
from tests.unit.page_records import NEW, NOW, OLD, ago, droplet, first_deploy, record, shop, status


def app_view(records: AppRecords) -> AppView:
    return view_of(records, NOW)


def colors(view: AppView) -> tuple[ColorView, ColorView]:
    blue, green = view.colors
    assert (blue.color, green.color) == ("blue", "green")
    return blue, green


def test_live_and_idle_color_with_their_releases() -> None:
    records = shop(record(), first_deploy())
    records.ended[0] = Ended(record(), ago(hours=1), commit="Fix the cart")
    blue, green = colors(app_view(records))
    assert (green.is_live, green.share, green.revision, green.ref, green.commit) == (
        *(True, 100, NEW, "v2"),
        "Fix the cart",
    )
    assert (green.since, green.by) == (ago(hours=1), "alice")
    assert (blue.is_live, blue.share, blue.revision, blue.by) == (False, 0, OLD, "bob")


def test_a_release_that_was_rolled_back_is_on_the_idle_color() -> None:
    view = app_view(shop(record("rolled back", live="blue", live_revision=OLD), first_deploy()))
    blue, green = colors(view)
    assert (blue.is_live, blue.revision) == (True, OLD)
    assert (green.is_live, green.revision, green.note) == (False, NEW, "rolled back")
    assert [one.mark for one in view.past] == ["rolled back", "good"]


@pytest.mark.parametrize(
    ("outcome", "mark"),
    [
        ("refused before the switch", "refused"),
        ("refused by policy", "refused"),
        ("frozen", "frozen"),
        ("bad, but there is nothing to go back to", "bad"),
        ("ended without a report", "unclear"),
        ("something of a later version", "unclear"),
        ("already live", "good"),
    ],
)
def test_a_run_in_the_strip_is_marked_by_its_outcome(outcome: str, mark: str) -> None:
    assert [one.mark for one in app_view(shop(record(outcome))).past] == [mark]


def test_a_deploy_that_was_refused_before_it_touched_a_droplet_changes_no_color() -> None:
    kept = {"phases": {"resolve_ref": 1.0}, "live_known": False}
    refused = record("refused by policy", run_id="manual__3", revision="c" * 40, **kept)
    _, green = colors(app_view(shop(refused, record())))
    assert (green.is_live, green.revision, green.note) == (True, NEW, "")


def test_a_frozen_release_is_live_and_named_so() -> None:
    _, green = colors(app_view(shop(record("frozen"))))
    assert (green.is_live, green.note) == (True, "frozen")


def test_a_dry_run_is_not_in_the_strip() -> None:
    dry = [record("would succeed"), record("refused before the switch", subject="dry run of v3")]
    assert app_view(shop(*dry)).past == ()


def test_nothing_is_deployed_yet() -> None:
    view = app_view(shop(status=status(live=None)))
    assert (view.traffic.live, view.traffic.known) == (None, True)
    assert [(one.is_live, one.share, one.revision) for one in view.colors] == [(False, 0, "")] * 2


def test_without_any_record_nothing_is_claimed() -> None:
    view = app_view(AppRecords("shop"))
    assert (view.traffic.known, view.problems) == (False, ())
    assert [(one.is_live, one.share) for one in view.colors] == [(None, None)] * 2


@pytest.mark.parametrize(("at", "live"), [(NOW, "blue"), (ago(hours=2), "green")])
def test_the_latest_that_is_known_counts(at: Any, live: str) -> None:
    assert app_view(shop(record(), status=status(at=at, live="blue"))).traffic.live == live


def test_proxies_that_disagree_leave_it_unknown() -> None:
    view = app_view(shop(record(), status=status(live=None, is_live_known=False)))
    assert not view.traffic.known
    assert [one.share for one in view.colors] == [None, None]


def test_health_of_the_droplets_with_its_age() -> None:
    found = status(
        droplet("blue-1", "blue", OLD),
        droplet("green-1", "green", NEW, haproxy={"lb-1": "up L7OK", "lb-2": "down L4CON"}),
        droplet("green-2", "green", NEW, service="failed"),
        droplet("green-3", "green", None, problem="it is off"),
        droplet("green-4", "green", NEW, haproxy={}),
    )
    blue, green = colors(app_view(shop(record(), status=found)))
    assert [(one.health, one.is_good) for one in blue.droplets] == [("healthy", True)]
    assert [one.is_good for one in green.droplets] == [False] * 4
    assert [one.health for one in green.droplets] == [
        "active; down L4CON, up L7OK",
        "failed; up L7OK",
        "it is off",
        "active; not in HAProxy",
    ]
    assert green.droplets_at == NOW


def test_what_droplets_run_counts_if_it_was_seen_later() -> None:
    other = "c" * 40
    _, green = colors(app_view(shop(record(), status=status(droplet("green-1", "green", other)))))
    assert (green.revision, green.by) == (other, "")
    old = status(droplet("green-1", "green", other), at=ago(days=2))
    assert colors(app_view(shop(record(), status=old)))[1].revision == NEW


@pytest.mark.parametrize(("at", "before"), [(ago(minutes=30), False), (ago(hours=2), True)])
def test_health_from_before_the_release_came_there_is_named_so(at: Any, before: bool) -> None:
    found = status(droplet("green-1", "green", NEW), at=at)
    assert colors(app_view(shop(record(), status=found)))[1].seen_before is before


def test_droplets_of_one_color_with_different_releases_are_named() -> None:
    found = status(droplet("green-1", "green", NEW), droplet("green-2", "green", OLD))
    assert colors(app_view(shop(status=found)))[1].note == "its droplets have different releases"


def test_the_ledgers_last_lines_stand_in_for_events_that_airflow_has_deleted() -> None:
    view = app_view(shop(status=status(runs=[record()])))
    assert [one.run_id for one in view.past] == ["manual__2"]
    # One run is one run.
    assert len(app_view(shop(record(), status=status(runs=[record()]))).past) == 1


@pytest.mark.parametrize("value", [None, 7, "status", [], {}, {"app": "shop"}, {"live": {"a": 1}}])
def test_a_status_that_cannot_be_read_is_a_line_of_its_own(value: Any) -> None:
    view = app_view(shop(record(), status=Left(value, NOW)))
    assert view.traffic.live == "green"
    assert view.problems == ("the last status is not of this version of the project: refresh",)


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"dag_id": 1}, record(ended="soon")])
def test_a_record_that_cannot_be_read_hides_no_other(value: Any) -> None:
    view = app_view(shop(value, record()))
    assert len(view.past) == 1
    assert view.problems == ("1 of the last runs left no record that this version can read",)


def test_a_strangers_text_is_one_short_printable_line() -> None:
    nasty = "a\r\nb\x1b[31m\u202e" + "x" * 5000
    records = shop(record(message=nasty, ref=nasty, triggered_by=nasty))
    records.ended[0] = Ended(record(message=nasty, ref=nasty), NOW, commit=nasty)
    view = app_view(records)
    for text in (view.past[0].message, view.colors[1].ref, view.colors[1].commit):
        assert text.startswith("a b?[31m?xxx")
        assert text.isprintable()
        assert len(text) < 1000


@pytest.mark.parametrize("commit", [None, 7, ["x"], {"a": 1}])
def test_a_commit_that_is_no_text_is_not_shown(commit: Any) -> None:
    records = shop(record())
    records.ended[0] = Ended(record(), NOW, commit=commit)
    assert colors(app_view(records))[1].commit == ""


def test_a_time_without_a_zone_is_utc() -> None:
    view = app_view(shop(record(ended="2026-12-01T10:00:00", switched_at="2026-12-01T09:59:00")))
    assert view.colors[1].since is not None
    assert view.colors[1].since.utcoffset() is not None
