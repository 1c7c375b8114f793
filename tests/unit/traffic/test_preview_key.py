"""The preview key: where it comes from, what cannot be one, and where it is not shown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bluegreen.errors import SettingsError
from bluegreen.hooks import preview_key as hook_module
from bluegreen.hooks.preview_key import preview_key
from bluegreen.run.seal import key_from
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.preview_key import checked_key, derived_key

CHOSEN, SEAL = "correct-horse-battery", "0" * 32


def app_with(preview: str | None) -> App:
    app = load_app("my_perl_app")
    return app.model_copy(update={"connections": app.connections.model_copy(update={"preview": preview})})


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the logs are told to hide; two connections have a password."""
    passwords = {"bluegreen_seal": SEAL, "preview": CHOSEN, "empty": None}
    connection = "bluegreen.hooks.sealing.get_connection"
    monkeypatch.setattr(connection, lambda name: SimpleNamespace(password=passwords[name]))
    monkeypatch.setattr(hook_module, "get_connection", lambda name: SimpleNamespace(password=passwords[name]))
    found: list[str] = []
    monkeypatch.setattr(hook_module, "mask_secret", found.append)
    return found


def test_the_key_is_the_password_of_its_connection(masked: list[str]) -> None:
    assert preview_key(app_with("preview")) == CHOSEN
    assert masked == [CHOSEN]


def test_without_a_connection_it_is_derived_and_hidden_too(masked: list[str]) -> None:
    key = preview_key(app_with(None))
    assert key == derived_key(key_from(SEAL), "my_perl_app")
    assert masked == [key]


def test_apps_with_one_password_have_different_keys() -> None:
    assert derived_key(b"secret", "shop") != derived_key(b"secret", "blog")


def test_a_connection_without_a_password_is_named(masked: list[str]) -> None:
    with pytest.raises(SettingsError, match="the password of connection 'empty' cannot be a preview key"):
        preview_key(app_with("empty"))


@pytest.mark.parametrize(
    "key",
    ["too-short", "x" * 129, *(f"{'x' * 16}{sign}" for sign in " \t\r\n\0\"'\\#$ü"), "", None],
)
def test_a_key_that_could_mean_something_else_to_haproxy_is_refused_and_not_shown(key: str | None) -> None:
    with pytest.raises(SettingsError, match="allowed are 16 to 128 printable") as refusal:
        checked_key(key, "preview")
    assert not key or key not in str(refusal.value)
