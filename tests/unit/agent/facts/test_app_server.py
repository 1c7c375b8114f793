"""Which releases and configurations a droplet has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agent.droplet.activated import Activated, Pairing
from agent.droplet.app_paths import AppPaths
from agent.facts import app_server
from agent.paths import Paths
from agent.system import CallDeadline
from tests.unit.agent.droplet.local_droplet import ASKED as LOCALLY_ASKED

OLD, NEW = f"{'a' * 40}-{'1' * 16}", f"{'a' * 40}-{'2' * 16}"
DIGEST = "c" * 64
ASKED = LOCALLY_ASKED | {"address": "10.0.0.4"}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppPaths:
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    app = AppPaths(Paths(), "app-shop")
    for name in (OLD, NEW, f"{NEW}.partial.x", "a" * 40):
        (app.releases / name).mkdir(parents=True)
    (app.root / "activated").mkdir()
    (app.configurations / DIGEST).mkdir(parents=True)
    return app


def test_only_whole_releases_are_found(app: AppPaths) -> None:
    found = app_server.releases(app)
    assert found["releases"] == [OLD, NEW]
    assert found["current"] is None


@pytest.mark.parametrize("target", [f"releases/{NEW}", f"releases/{NEW}/", "{root}/releases/" + NEW])
def test_the_current_release_is_where_the_link_leads(app: AppPaths, target: str) -> None:
    (app.root / "current").symlink_to(target.format(root=app.root))
    assert app_server.releases(app)["current"] == NEW


def test_a_service_runs_in_a_release_whose_subdirectory_is_its_directory(
    app: AppPaths, tmp_path: Path
) -> None:
    link = tmp_path / "cwd"
    link.symlink_to(app.releases / NEW / "backend/api")
    assert app_server.release_at(str(link), app) == NEW


def test_a_link_that_leads_to_no_release_is_shown_as_it_is(app: AppPaths) -> None:
    (app.root / "current").symlink_to("/srv/by-hand")
    assert app_server.releases(app)["current"] == "by-hand"


def test_what_was_healthy_is_named_with_all_that_it_ran_with(app: AppPaths) -> None:
    pairing = Pairing(NEW, DIGEST, "[Unit]\n")
    Activated(app).record(pairing, ASKED)
    facts: dict[str, Any] = {"release": NEW, "configuration": DIGEST, "pairing": pairing.digest}
    facts |= {"address": "10.0.0.4", "port": 8080, "confirmed": False}
    assert app_server.activated(app) == [facts]
    Activated(app).confirm(pairing.digest)
    assert app_server.activated(app) == [{**facts, "confirmed": True}]


@pytest.mark.parametrize(
    "change",
    [
        "",
        "{",
        "[]",
        "null",
        {"unit_text": ""},
        {"configuration": 7},
        {"configuration": "../../etc"},
        {"service": None},
        {"service": {**ASKED, "port": "8080"}},
        {"at": "today"},
    ],
)
def test_a_record_that_is_not_whole_counts_as_none(app: AppPaths, change: str | dict[str, Any]) -> None:
    Activated(app).record(Pairing(OLD, DIGEST, "[Unit]\n"), ASKED)
    [record] = (app.root / "activated").iterdir()
    text = change if isinstance(change, str) else json.dumps({**json.loads(record.read_text()), **change})
    record.write_text(text)
    assert app_server.activated(app) == []


def test_cpanm_which_writes_whatever_it_is_asked_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cpanm", "carton"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\necho {name} v1.2.3\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = app_server.versions(CallDeadline("facts", 60), ["cpanm", "carton"])
    assert found == {"cpanm": app_server.UNKNOWN, "carton": "1.2.3"}
    assert [path.name for path in tmp_path.glob("ran-*")] == ["ran-carton"]
