"""What the page shows of dry run, certificates and lock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bluegreen.page.notices import Certificate, certificates_of, dry_run_of
from bluegreen.page.records import ActiveRun, AppRecords, Left
from bluegreen.page.view import app_view
from tests.unit.page_records import NOW, ago, shop, status

ERROR = {"severity": "error", "subject": "green-1", "what": "SSH is away", "advice": "look at it"}
WARNING = ERROR | {"severity": "warning", "what": "the clock is late"}


def after_dry_run(findings: Any, summary: Any = "1 error, 1 warning") -> AppRecords:
    return AppRecords("shop", dry_run={"findings": Left(findings, NOW), "summary": Left(summary, NOW)})


def test_a_dry_run_that_is_red() -> None:
    found = dry_run_of(after_dry_run([ERROR, WARNING]))
    assert found is not None
    assert (found.summary, found.is_red, found.more, found.at) == ("1 error, 1 warning", True, 0, NOW)
    assert found.findings == (
        ("error", "green-1: SSH is away; look at it"),
        ("warning", "green-1: the clock is late; look at it"),
    )


def test_a_dry_run_that_is_green_has_the_first_of_many_warnings() -> None:
    found = dry_run_of(after_dry_run([WARNING | {"subject": f"green-{number}"} for number in range(9)]))
    assert found is not None
    assert (found.is_red, len(found.findings), found.more) == (False, 5, 4)


@pytest.mark.parametrize("findings", [None, 7, {}, [7], [{}], [{"severity": "fatal"}]])
def test_findings_that_cannot_be_read_are_left_out(findings: Any) -> None:
    found = dry_run_of(after_dry_run(findings))
    assert found is not None
    assert found.findings == ()


def test_without_a_dry_run_there_is_nothing() -> None:
    assert dry_run_of(AppRecords("shop")) is None


def certificates(value: Any) -> tuple[Certificate, ...]:
    return certificates_of(AppRecords("shop", certificates=Left(value, ago(hours=5))), NOW)


def test_days_of_each_certificate_and_whether_it_is_late() -> None:
    def dates(ends: int, late_from: int) -> dict[str, str]:
        moments = {"ends": ends, "late_from": late_from}
        return {name: (NOW + timedelta(days=days)).isoformat() for name, days in moments.items()}

    found = certificates({"www": dates(60, 45), "old": dates(-1, -10), "late": dates(9, -1)})
    assert [(one.name, one.days, one.is_late) for one in found] == [
        ("old", -1, True),
        ("late", 9, True),
        ("www", 60, False),
    ]
    assert found[0].at == ago(hours=5)


@pytest.mark.parametrize(
    "value", [None, 7, [], {"a": 1}, {"a": {}}, {"a": {"ends": "x", "late_from": "y"}}, {"a": {"ends": 1}}]
)
def test_certificates_that_cannot_be_read_are_left_out(value: Any) -> None:
    assert certificates(value) == ()


def locked(run_id: str = "bluegreen_deploy__shop/manual__3") -> Left:
    lock = {"owner": "alice", "run_id": run_id, "ref": "v2", "since": NOW.timestamp() - 60, "token": 7}
    return status(proxies=[{"name": "lb-1", "address": "198.18.0.1", "lock": lock}])


def test_a_lock_of_a_run_that_is_not_at_work_any_more() -> None:
    held = app_view(shop(status=locked()), NOW).lock
    assert held is not None
    assert (held.owner, held.since, held.at) == ("alice", ago(minutes=1), NOW)


def test_the_lock_of_a_run_that_is_at_work_is_no_news() -> None:
    run = ActiveRun("bluegreen_deploy__shop", "manual__3", "running", NOW, "alice")
    assert app_view(shop(status=locked(), active=[run]), NOW).lock is None
