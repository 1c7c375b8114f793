"""Asking one droplet for its facts."""

from __future__ import annotations

from typing import Any

import pytest

from agent.facts.ports import Port
from bluegreen.checks.gather.ask_machine import ask_app_server
from bluegreen.checks.gather.collect import ports_to_try
from bluegreen.hooks.agent import AgentHook
from bluegreen.settings.app_file import load_app
from tests.unit.facts import facts as of_calm_fleet
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


def test_only_a_dry_run_and_a_status_let_a_droplet_try_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    app = load_app("my_perl_app")
    monkeypatch.setenv(f"AIRFLOW_CONN_{app.connections.ssh.upper()}", "ssh://root@")
    asked: list[Any] = []

    def read(_hook: Any, _verb: Any, _within: float, **request: Any) -> dict[str, Any]:
        asked.append(request["ports"])
        return {"facts": facts().model_dump(mode="json")}

    monkeypatch.setattr(AgentHook, "read", read)
    ask_app_server(app, GREEN)
    ask_app_server(app, GREEN, ports=[Port("198.19.0.3", 8080, is_wanted=False)])
    assert asked == [[], [{"address": "198.19.0.3", "port": 8080, "is_wanted": False}]]


def test_each_machine_is_asked_for_its_own_trials_and_airflow_makes_its_own() -> None:
    calm = of_calm_fleet()
    for source in (None, *calm.fleet.droplets):
        tried = ports_to_try(calm, source)
        assert tried
        assert tried == [one.asked for one in calm.port_trials if one.source == source]
