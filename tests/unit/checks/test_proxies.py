"""The proxies: HAProxy's version and its certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bluegreen.checks import proxies
from bluegreen.checks.facts import (
    Certificate,
    Proxy,
    Reading,
)
from bluegreen.traffic.certificates import WARNED_SHARE, renewed_before
from tests.sandbox.certificates import self_signed
from tests.unit.facts import MACHINE, NOW, facts
from tests.unit.fleets import V1
from tests.unit.statuses import status


@pytest.mark.parametrize("version", ["0.0", "2", "unknown"])
def test_an_unreadable_version_of_haproxy_is_an_error(version: str) -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": version})})
    [found] = proxies.answering(facts(statuses={"lb-1": told}))
    assert (found.subject, found.severity) == ("lb-1", "error")
    assert repr(version) in found.what


def test_an_old_haproxy_is_a_warning() -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"version": "2.4.22"})})
    [found] = proxies.answering(facts(statuses={"lb-1": told}))
    assert found.severity == "warning"


@pytest.mark.parametrize("root", [True, False, None])
def test_a_haproxy_that_runs_as_root_is_a_warning(root: bool | None) -> None:
    told = status()
    told = told.model_copy(update={"haproxy": told.haproxy.model_copy(update={"root": root})})
    found = [one.severity for one in proxies.unprivileged(facts(statuses={"lb-1": told}))]
    assert found == (["warning"] if root else [])


@pytest.mark.parametrize(
    ("days", "severity", "said"),
    [
        (-0.1, "error", "expired on 2027-01-15"),
        (6.9, "error", "expires in 6 days"),
        (7.1, "warning", "expires in 7 days"),
        (20.9, "warning", "expires in 20 days"),
        (21.1, None, ""),
    ],
)
def test_an_expired_certificate_is_an_error_and_one_about_to_expire_a_warning(
    days: float, severity: str | None, said: str
) -> None:
    pem = self_signed(datetime.fromtimestamp(NOW, UTC) + timedelta(days=days))
    there = Proxy(
        **MACHINE, config_error="", certificates={"/c.pem": Certificate(error="", pem=pem)}, probes={}
    )
    found = list(proxies.certificate(facts(proxies={"lb-1": Reading(there, NOW, NOW)})))
    assert [one.severity for one in found] == [severity] * bool(severity)
    assert all(said in one.what for one in found)


def test_a_certificate_that_airflow_delivers_and_is_not_there_yet_stops_no_deploy() -> None:
    missing = {"/etc/haproxy/certificates/a.pem": Certificate(error="it cannot be read", pem="")}
    there = Proxy(**MACHINE, config_error="", certificates=missing, probes={})
    [found] = proxies.certificate(facts(proxies={"lb-1": Reading(there, NOW, NOW)}))
    assert found.severity == "warning"
    assert "bluegreen_certificates__" in found.advice


def test_of_a_certificate_with_a_short_life_the_times_are_shorter() -> None:
    """It lives 47 days, and is renewed when a third of that is left."""
    begins = datetime.fromtimestamp(NOW, UTC)
    ends = begins + timedelta(days=47)
    lead = renewed_before(begins, ends)
    assert lead == timedelta(days=47) / 3
    assert lead * WARNED_SHARE < timedelta(days=11)


def test_a_release_that_is_frozen_is_a_warning_until_another_one_was_found_good() -> None:
    kept = {"color": "blue", "revision": V1, "run_id": "deploy/7", "at": 1.0, "irreversible": "drops it"}
    [found] = proxies.unfinished(
        facts(statuses={"lb-1": status(confirmed={**kept, "judged": False}, lock=None)})
    )
    assert (found.subject, found.severity) == ("lb-1", "warning")
    assert "blue has aaaaaaaaaaaa, which was not found good" in found.what
    good = status(confirmed={**kept, "judged": True}, lock=None)
    assert list(proxies.unfinished(facts(statuses={"lb-1": good}))) == []
