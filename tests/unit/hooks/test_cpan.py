"""What a CPAN mirror asks for comes from an Airflow connection, and no log shows it."""

from __future__ import annotations

import json

import pytest

from bluegreen.errors import SettingsError
from bluegreen.hooks import cpan
from bluegreen.hooks.cpan import cpan_credentials
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app


@pytest.fixture
def app() -> App:
    one = load_app("my_perl_app")
    return one.model_copy(update={"connections": one.connections.model_copy(update={"cpan": "our_cpan"})})


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    values: set[str] = set()
    monkeypatch.setattr(cpan, "mask_secret", values.add)
    return values


def connection(monkeypatch: pytest.MonkeyPatch, **fields: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_OUR_CPAN", json.dumps({"conn_type": "http", **fields}))


def test_the_password_is_masked_as_it_is_and_as_it_is_sent(
    app: App, masked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection(monkeypatch, login="me", password="s3cr:t/ä")
    assert cpan_credentials(app) == {"login": "me", "password": "s3cr:t/ä"}
    assert masked == {"s3cr:t/ä", "bWU6czNjcjp0L8Ok"}


def test_without_the_setting_there_are_none(masked: set[str]) -> None:
    assert cpan_credentials(load_app("my_perl_app")) is None


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"password": "s3cret"}, "login"),
        ({"login": "me"}, "password"),
        ({"login": "me:you", "password": "s3cret"}, "login"),
        ({"login": "me", "password": "s3cret\nX-Other: 1"}, "password"),
    ],
)
def test_a_connection_that_is_not_usable_is_named_without_its_values(
    app: App, masked: set[str], monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], name: str
) -> None:
    connection(monkeypatch, **fields)
    with pytest.raises(SettingsError, match=f"^the Airflow connection 'our_cpan' has no {name} ") as error:
        cpan_credentials(app)
    assert "s3cret" not in str(error.value)


def test_a_connection_that_is_missing_is_named(app: App, masked: set[str]) -> None:
    with pytest.raises(SettingsError, match="there is no Airflow connection 'our_cpan'"):
        cpan_credentials(app)
