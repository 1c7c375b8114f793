"""From records to what an app's people should know before they deploy: dry run, certificates, lock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from bluegreen.checks.finding import Finding, Severity
from bluegreen.checks.status import Status
from bluegreen.page.at_work import moment
from bluegreen.page.records import AppRecords
from bluegreen.page.text import line

# Findings that are shown; the run's log has all.
MOST_FINDINGS = 5
MOST_CERTIFICATES = 20
LONGEST_FINDING = 400


@dataclass(frozen=True)
class DryRun:
    """What the last dry run found.

    :param is_red: whether a deploy would fail.
    :param findings: the worst first, each with its severity.
    :param more: how many others there are.
    """

    summary: str
    is_red: bool
    findings: tuple[tuple[str, str], ...]
    more: int
    at: datetime


@dataclass(frozen=True)
class Certificate:
    """A certificate that Airflow has.

    :param is_late: whether it should have been renewed by now.
    """

    name: str
    days: int
    is_late: bool
    at: datetime


@dataclass(frozen=True)
class HeldBy:
    """The lock of an app, as the status saw it."""

    run_id: str
    owner: str
    since: datetime | None
    until: datetime | None
    at: datetime


def dry_run_of(records: AppRecords) -> DryRun | None:
    """Return what the last dry run found, if one got to its end."""
    summary, found = records.dry_run.get("summary"), records.dry_run.get("findings")
    if summary is None:
        return None
    findings = []
    for one in found.value if found and isinstance(found.value, list) else []:
        try:
            findings.append(Finding.model_validate(one))
        except ValidationError:
            continue
    return DryRun(
        summary=line(summary.value, LONGEST_FINDING),
        is_red=any(one.severity is Severity.ERROR for one in findings),
        findings=tuple(
            (str(one.severity), line(str(one), LONGEST_FINDING)) for one in findings[:MOST_FINDINGS]
        ),
        more=max(0, len(findings) - MOST_FINDINGS),
        at=summary.at,
    )


def certificates_of(records: AppRecords, now: datetime) -> tuple[Certificate, ...]:
    """Return the certificates, the one that ends first at the beginning."""
    left = records.certificates
    if left is None or not isinstance(left.value, Mapping):
        return ()
    found = []
    for name, dates in list(left.value.items())[:MOST_CERTIFICATES]:
        match dates:
            case {"ends": str(ends), "late_from": str(late_from)}:
                try:
                    end, late = (datetime.fromisoformat(one) for one in (ends, late_from))
                    days = int((_aware(end) - now).total_seconds() // 86400)
                except (ValueError, OverflowError):
                    continue
                found.append(Certificate(line(name), days, now >= _aware(late), left.at))
    return tuple(sorted(found, key=lambda one: one.days))


def lock_of(records: AppRecords, status: Status | None) -> HeldBy | None:
    """Return the lock that the last status saw, unless a run that is at work holds it."""
    if status is None or records.status is None:
        return None
    at_work = {f"{one.dag_id}/{one.run_id}" for one in records.active}
    for proxy in status.proxies:
        lock = proxy.lock
        if lock and lock.run_id not in at_work:
            since, until = moment(lock.since), moment(lock.until) if lock.until else None
            return HeldBy(line(lock.run_id), line(lock.owner), since, until, records.status.at)
    return None


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
