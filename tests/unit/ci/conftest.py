"""Fixtures of the tests of the CI client: an Airflow with a run, and calls of the client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from examples.ci import trigger_deploy as client
from tests.unit.ci_client import CREDENTIALS, Call, airflow_with_a_run, arguments
from tests.unit.fake_airflow import FakeApi, serving


@pytest.fixture
def quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(client, "FIRST_ANSWER_SECONDS", 0.6)
    monkeypatch.setattr(client, "_secrets", set())
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def api() -> FakeApi:
    return airflow_with_a_run()


@pytest.fixture
def url(api: FakeApi) -> Iterator[str]:
    with serving(api) as address:
        yield f"http://{address}"


@pytest.fixture
def deploy(url: str, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*more: str, **options: Any) -> tuple[int, list[str]]:
        code = client.main(arguments(url, *more, **options))
        return code, capsys.readouterr().out.splitlines()

    return call
