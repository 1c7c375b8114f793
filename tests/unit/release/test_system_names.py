"""What an app is called on its droplets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bluegreen.checks.gather.expected import unit_path
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.host_keys import generate
from bluegreen.settings.app_file import load_app
from bluegreen.settings.app_files import REFERENCE


@pytest.mark.parametrize("app_id", ["ssh", "cron", "root", "deploy", "mail", "news", "backup", "haproxy"])
def test_an_app_may_be_called_like_a_user_or_a_service_of_the_system(tmp_path: Path, app_id: str) -> None:
    (tmp_path / f"{app_id}.yaml").write_bytes(REFERENCE.read_bytes())
    app = load_app(app_id, tmp_path)
    user_data = yaml.safe_load(
        render_user_data(app=app_id, proxy=False, host_key=generate(), packages=app.fleet.packages)
    )
    assert {one["name"] for one in user_data["users"]} == {f"app-{app_id}", f"build-{app_id}"}
    assert unit_path(app).endswith(f"/app-{app_id}.service")
