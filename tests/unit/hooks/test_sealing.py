"""What seals statements and salts configurations has an Airflow connection to itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bluegreen.errors import SettingsError
from bluegreen.hooks.sealing import sealing_key
from bluegreen.release.configuration import Secrets, configuration_salt, make_configuration
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app


def app(**connections: str) -> App:
    one = load_app("my_perl_app")
    return one.model_copy(update={"connections": one.connections.model_copy(update=connections)})


def connection(monkeypatch: pytest.MonkeyPatch, name: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "generic", **fields}))


def digest(one: App) -> str:
    salt = configuration_salt(sealing_key(one), one.id)
    return make_configuration(one, Secrets(), {}, salt)["digest"]


def test_a_new_ssh_key_changes_no_seal_and_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "BLUEGREEN_SEAL", password="5" * 32)
    found = []
    for key in ("the old key", "the new key"):
        connection(monkeypatch, "BLUEGREEN_SSH", login="root", extra={"private_key": key})
        found.append((sealing_key(app()), digest(app())))
    assert found[0] == found[1]


def test_another_password_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, "BLUEGREEN_SEAL", password="5" * 32)
    before = sealing_key(app()), digest(app())
    connection(monkeypatch, "BLUEGREEN_SEAL", password="6" * 32)
    assert not set(before) & {sealing_key(app()), digest(app())}
    connection(monkeypatch, "OTHER_SEAL", password="5" * 32)
    assert sealing_key(app(seal="other_seal")) == before[0]


def test_without_a_usable_password_the_line_names_the_connection_and_no_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SettingsError, match="there is no Airflow connection 'bluegreen_seal'; create it"):
        sealing_key(app())
    for fields in ({}, {"password": "hunter2"}):
        connection(monkeypatch, "BLUEGREEN_SEAL", **fields)
        with pytest.raises(SettingsError, match=r"'bluegreen_seal'.*32 .*openssl rand -hex 32") as raised:
            sealing_key(app())
        assert "hunter2" not in str(raised.value)
