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
from tests.sandbox.certificates import self_signed
from tests.unit.facts import MACHINE, NOW, facts
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


@pytest.mark.parametrize(
    ("days", "severity", "said"),
    [(-0.1, "error", "expired on 2027-01-15"), (11.5, "warning", "expires in 11 days"), (30.5, None, "")],
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
