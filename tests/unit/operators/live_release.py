"""What is live already when a run makes its plan."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bluegreen.checks.gather.expected import unit_path
from bluegreen.checks.release_facts import UsedConfiguration
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators import provision_check
from bluegreen.release.release import service_unit
from bluegreen.settings.app_file import load_app
from tests.unit.artifacts import PERL, kept
from tests.unit.fleets import FLEET, V1, V2, facts, released
from tests.unit.provision import Check
from tests.unit.runs import APP
from tests.unit.statuses import status


def live(
    monkeypatch: pytest.MonkeyPatch,
    directory: Path,
    *,
    configuration: str | None = None,
    digit: str = "1",
    perl: str = PERL,
) -> Check:
    """A check of a revision that is live, and was built as it would be now unless a test says otherwise.

    :param configuration: what it runs with; default: what a deploy would deliver.
    :param digit: which artifact of it is live.
    :param perl: of the builder.
    """
    kept(monkeypatch, directory, digest="1" * 64)
    check = Check(monkeypatch, revision=V1)
    digest = configuration or configuration_of(load_app(APP), {})["digest"]
    known: dict[str, Any] = {"releases": (released(V1, digit),), "current": released(V1, digit)}
    app, [blue] = load_app(APP), FLEET.blue
    unit = service_unit(app, released(V1, digit), digest, str(blue.private))
    known["files"] = {unit_path(app): unit}
    check.facts["blue-1"] = facts(V1, configuration=UsedConfiguration(digest=digest), **known)
    check.facts["green-1"] = facts(V2, perl_key=perl)
    monkeypatch.setattr(provision_check, "expected_config", lambda _facts: CONFIG)
    for name in check.statuses:
        check.statuses[name] = status(haproxy=running_config())
    return check


CONFIG = "global\n"


def running_config(**changes: str | None) -> dict[str, Any]:
    """HAProxy as a deploy leaves it."""
    digest = hashlib.sha256(CONFIG.encode()).hexdigest()
    known = {"version": "2.6.12", "running": True, "config_sha256": digest, "file_sha256": digest}
    return {**known, **changes}
