"""The task provision_check over a fleet that answers as a test says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.checks.facts import AppServer
from bluegreen.errors import BlueGreenError
from bluegreen.operators import provision_check
from bluegreen.run.plan import HeldLock
from bluegreen.source.policy import Age
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.unit.fleets import FLEET, V1, facts
from tests.unit.statuses import status

Answer = ProxyStatus | BlueGreenError
Facts = AppServer | BlueGreenError
LOCK = HeldLock(proxies=(), tokens={"lb-1": 7}).model_dump(mode="json")


class Check:
    """The task over a fleet that answers as a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.task: Any = provision_check.ProvisionCheckOperator(
            task_id="provision_check", app_id="my_perl_app", lock=LOCK, **settings
        )
        self.statuses: dict[str, Answer] = {"lb-1": status(), "lb-2": status()}
        self.facts: dict[str, Facts] = {"blue-1": facts(), "green-1": facts()}
        self.said: dict[str, Any] = {}
        self.fleet = FLEET
        self.age = Age(V1, 0, is_older=False)
        self.allowed: list[str] = []
        self.compared: list[str | None] = []
        monkeypatch.setattr(provision_check, "resolve", lambda _app, ref, **_: self.allowed.append(ref))
        monkeypatch.setattr(provision_check, "compare", self._compare)
        monkeypatch.setattr(self.task, "read_fleet", lambda goes_back: self.fleet)
        monkeypatch.setattr(self.task, "_status", lambda one: self.statuses[one.name])
        monkeypatch.setattr(self.task, "_facts", lambda one: self.facts[one.name])

    def _compare(self, _app: Any, _revision: str, live: str | None, **_: Any) -> Age:
        self.compared.append(live)
        return self.age

    def run(self, **params: Any) -> list[str]:
        ti = SimpleNamespace(
            task_id="provision_check", xcom_push=lambda key, value: self.said.update({key: value})
        )
        run, dag = SimpleNamespace(dag_id="deploy", run_id="run"), SimpleNamespace(task_ids=["resolve_ref"])
        addresses: list[str] = self.task.execute({"ti": ti, "params": params, "dag_run": run, "dag": dag})
        return addresses
