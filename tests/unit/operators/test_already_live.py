"""What is live already is deployed again only if a deploy would change something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from bluegreen.checks.facts import AppServer, Unit
from bluegreen.errors import BlueGreenError
from bluegreen.settings.app_file import load_app
from tests.unit.fleets import V1, V2, facts
from tests.unit.operators.live_release import live, running_config
from tests.unit.provision import Check
from tests.unit.runs import APP
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")


def test_what_is_live_everywhere_and_healthy_is_not_deployed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = live(monkeypatch, tmp_path)
    with pytest.raises(AirflowSkipException, match=r"every droplet of blue runs aaaaaaaaaaaa"):
        check.run()
    assert check.said["nothing_to_do"]["outcome"] == "already live"
    assert check.run(force=True) == ["198.18.0.4"]


def test_what_is_live_and_frozen_may_be_deployed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check = live(monkeypatch, tmp_path)
    kept = {"color": "blue", "revision": V1, "run_id": "p", "at": 1.0, "irreversible": "drops it"}
    check.statuses["lb-2"] = status(haproxy=running_config(), confirmed={**kept, "judged": True})
    with pytest.raises(AirflowSkipException, match="every droplet of blue runs"):
        check.run()
    check.statuses["lb-2"] = status(haproxy=running_config(), confirmed={**kept, "judged": False})
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize("changed", [{"configuration": "e" * 64}, {"digit": "2"}, {"perl": "another perl"}])
def test_a_revision_that_is_live_is_deployed_with_another_environment_or_built_in_another_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str]
) -> None:
    assert live(monkeypatch, tmp_path, **changed).run() == ["198.18.0.4"]


@pytest.mark.parametrize("change", [{"workers": 7}, {"memory_max": "512M"}, {"stop_timeout": 90}])
def test_what_is_live_with_another_unit_than_the_settings_ask_for_is_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any]
) -> None:
    """The dry run warns of that, and promises that the next deploy writes the unit."""
    check = live(monkeypatch, tmp_path)
    app = load_app(APP)
    server = app.server.model_copy(update=change)
    check.task.__dict__["app"] = app.model_copy(update={"server": server})
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("blue-1", {"configuration": {"problem": "its files are not as they were delivered"}}),
        ("blue-1", {"files": {}}),
        ("lb-2", {"config_sha256": "e" * 64}),
        ("lb-2", {"config_sha256": None}),
        ("lb-2", {"file_sha256": "e" * 64}),
    ],
    ids=["damaged configuration", "no unit", "other settings", "loaded by hand", "edited by hand"],
)
def test_what_is_live_with_files_that_the_next_deploy_would_write_is_deployed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, changes: dict[str, Any]
) -> None:
    check = live(monkeypatch, tmp_path)
    if name == "lb-2":
        check.statuses[name] = status(haproxy=running_config(**changes))
    else:
        known = check.facts[name]
        assert isinstance(known, AppServer)
        assert known.configuration
        used = known.configuration.model_copy(update=changes.pop("configuration", {}))
        check.facts[name] = known.model_copy(update={"configuration": used, **changes})
    assert check.run() == ["198.18.0.4"]


def test_what_is_live_by_a_map_that_the_next_haproxy_would_not_have_is_deployed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, revision=V1)
    check.statuses["lb-2"] = status(consistent=False)
    assert check.run() == ["198.18.0.4"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blue-1", facts(V2)),
        ("blue-1", facts(unit=Unit(ActiveState="failed"))),
        ("blue-1", BlueGreenError("blue-1 cannot be reached")),
        ("lb-2", status(up=False)),
        ("lb-2", status(live=None)),
        ("lb-2", status(confirmed=None)),
    ],
    ids=["another revision", "not running", "unreachable", "sick", "not everywhere", "not confirmed"],
)
def test_what_is_not_live_everywhere_and_healthy_is_deployed(
    monkeypatch: pytest.MonkeyPatch, name: str, said: Any
) -> None:
    check = Check(monkeypatch, revision=V1)
    (check.statuses if name.startswith("lb") else check.facts)[name] = said
    assert check.run() == ["198.18.0.4"]
