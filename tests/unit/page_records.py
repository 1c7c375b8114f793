"""Records of an app as its runs leave them in Airflow's database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bluegreen.page.records import AppRecords, Ended, Left

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "a" * 40, "b" * 40


def ago(**how_long: float) -> datetime:
    return NOW - timedelta(**how_long)


def record(outcome: str = "live and confirmed", **changed: Any) -> dict[str, Any]:
    """A run's line in the ledger: by default a deploy of ``v2`` to green, an hour ago."""
    return {
        "dag_id": "bluegreen_deploy__shop",
        "run_id": "manual__2",
        "attempt": 0,
        "trigger": "manual",
        "triggered_by": "alice",
        "subject": "deploy of v2",
        "ref": "v2",
        "revision": NEW,
        "started": ago(hours=1, minutes=2).isoformat(),
        "ended": ago(hours=1).isoformat(),
        "outcome": outcome,
        "message": f"deploy of v2: {outcome}",
        "from": "blue",
        "to": "green",
        "live": "green",
        "live_known": True,
        "live_revision": NEW,
        "phases": {"deploy_0": 2.0},
    } | changed


def first_deploy(**changed: Any) -> dict[str, Any]:
    """The record of the deploy of ``v1`` to blue, a day ago."""
    about = {"run_id": "manual__1", "ref": "v1", "revision": OLD, "from": None, "to": "blue", "live": "blue"}
    about |= {"ended": ago(days=1).isoformat(), "triggered_by": "bob", "live_revision": OLD}
    return record(**about | changed)


def shop(*records: Any, **changed: Any) -> AppRecords:
    """The app ``shop`` with runs that have ended, the latest first."""
    ended = [Ended(one, ago(hours=number)) for number, one in enumerate(records)]
    return AppRecords("shop", kinds={"deploy", "rollback", "status"}, ended=ended, **changed)


def droplet(name: str, color: str, revision: str | None, **changed: Any) -> dict[str, Any]:
    """A droplet in the status."""
    return {
        "name": name,
        "color": color,
        "address": "198.18.0.5",
        "is_live": color == "green",
        "revision": revision,
        "service": "active",
        "haproxy": {"lb-1": "up L7OK"},
    } | changed


def status(*droplets: dict[str, Any], at: datetime = NOW, **changed: Any) -> Left:
    """The result of the status DAG."""
    value: dict[str, Any] = {
        "app": "shop",
        "live": "green",
        "is_live_known": True,
        "droplets": list(droplets),
        "proxies": [],
        "runs": [],
        "findings": [],
    }
    return Left(value | changed, at)
