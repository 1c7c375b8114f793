"""Asking one droplet for its facts."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.checks.gather.ask_machine import ask_app_server
from bluegreen.hooks.agent import AgentHook
from bluegreen.settings.app_file import load_app
from tests.unit.fleets import GREEN, facts

pytestmark = pytest.mark.usefixtures("trusting")


@pytest.mark.parametrize(("ssh_command", "seconds"), [(5, 15), (30, 26), (600, 596)])
def test_a_droplet_has_time_for_its_facts_however_soon_a_silent_command_is_lost(
    monkeypatch: pytest.MonkeyPatch, ssh_command: int, seconds: int
) -> None:
    app = load_app("my_perl_app")
    app = app.model_copy(update={"timeouts": app.timeouts.model_copy(update={"ssh_command": ssh_command})})
    monkeypatch.setenv(f"AIRFLOW_CONN_{app.connections.ssh.upper()}", "ssh://root@")
    asked: list[Any] = []

    def read(_hook: Any, _verb: Any, within: float, **request: Any) -> dict[str, Any]:
        asked.append((within, request["seconds"]))
        return {"facts": facts().model_dump(mode="json")}

    monkeypatch.setattr(AgentHook, "read", read)
    assert ask_app_server(app, GREEN).answer == facts()
    assert asked == [(seconds, seconds)]
