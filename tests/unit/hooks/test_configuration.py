"""An app's secrets come from an Airflow connection, and no log shows them."""

from __future__ import annotations

import json

import pytest

from bluegreen.errors import SettingsError
from bluegreen.hooks import configuration
from bluegreen.hooks.configuration import configuration_of
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app


def app() -> App:
    one = load_app("my_perl_app")
    connections = one.connections.model_copy(update={"environment": "shop_env"})
    return one.model_copy(update={"connections": connections, "environment": {}})


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    values: set[str] = set()
    monkeypatch.setattr(configuration, "mask_secret", values.add)
    return values


def connection(monkeypatch: pytest.MonkeyPatch, extra: object) -> None:
    described = json.dumps({"conn_type": "generic", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_SHOP_ENV", described)


def test_every_secret_and_each_of_its_lines_is_masked(
    monkeypatch: pytest.MonkeyPatch, masked: set[str]
) -> None:
    pem = "-----BEGIN KEY-----\n  MIIEvQIBADANBg\nab\n"
    connection(monkeypatch, {"environment": {"A": "hunter2", "EMPTY": ""}, "files": {"tls": pem}})
    made = configuration_of(app(), {})
    assert made["variables"] == {"A": "hunter2", "EMPTY": ""}
    assert masked == {"hunter2", pem, "-----BEGIN KEY-----", "MIIEvQIBADANBg", made["salt"]}


def test_without_a_connection_there_are_the_settings_alone(masked: set[str]) -> None:
    one = load_app("my_perl_app").model_copy(update={"environment": {"A": "1"}})
    assert configuration_of(one, {})["variables"] == {"A": "1"}


def test_a_connection_that_is_missing_or_unusable_is_named(
    monkeypatch: pytest.MonkeyPatch, masked: set[str]
) -> None:
    with pytest.raises(SettingsError, match="there is no Airflow connection 'shop_env'"):
        configuration_of(app(), {})
    connection(monkeypatch, {"environment": ["hunter2"]})
    with pytest.raises(SettingsError, match="'shop_env': environment in its extra is no object") as raised:
        configuration_of(app(), {})
    assert "hunter2" not in str(raised.value)
