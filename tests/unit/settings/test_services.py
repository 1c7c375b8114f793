"""Backing services in an app's file: what is refused, and without showing a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from tests.unit.app_settings import settings_of


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{Database: {address: 'db:5432'}}", "services.Database.[key]: found 'Database'"),
        (
            "{db: {adress: 'db:5432'}}",
            "services.db.adress: unknown key; allowed here are address, address_from, ",
        ),
        ("{db: {address: db}}", "address: found 'db': allowed are host and port"),
        ("{db: {address: 'db:70000'}}", "address: found 'db:70000': allowed are host and port"),
        ("{db: {address: '169.254.169.254:80'}}", "the metadata service least of all"),
        ("{db: {url: 'http://169.254.169.254/metadata/v1/'}}", "the metadata service least of all"),
        ("{db: {url: 'http://[::ffff:169.254.169.254]/'}}", "the metadata service least of all"),
        ("{db: {url: 'ftp://example.com/'}}", "url: allowed are http://… and https://…"),
        ("{db: {url: 'https://example.com/a b'}}", "url: a URL has no blanks"),
        ("{db: {url: 'https://[::1/'}}", "url: it is no URL"),
        ("{db: {address_from: 'DB-URL'}}", "address_from: found 'DB-URL'"),
        ("{db: {command: bin/ping}}", "command: found 'bin/ping': a command is a list of words: [bin/ping]"),
        ("{db: {command: [-i, bin/ping]}}", "the first word is the program"),
        ("{db: {address: 'db:5432', timeout: 11}}", "timeout: found 11"),
        (
            "{db: {}}",
            "services.db: exactly one of address, url, address_from, url_from and command is needed",
        ),
        ("{db: {address: 'db:1', url: 'http://db/'}}", "services.db: exactly one of"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path: Path, written: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        settings_of(tmp_path, more=f"services: {written}\n")
    assert "shop.yaml: services" in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://me:hunter2@example.com/", "ftp://me:hunter2@x/", "http://a:hunter2@[/"]
)
def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(tmp_path, more=f"services: {{api: {{url: '{url}'}}}}\n")
    assert "hunter2" not in str(caught.value)


def test_each_service_has_its_kind_and_its_time(tmp_path: Path) -> None:
    written = "{db: {address_from: DATABASE_URL}, api: {url: 'https://example.com/x?y=1', timeout: 2}}"
    app = settings_of(tmp_path, more=f"services: {written}\n")
    assert [(name, one.kind, one.timeout) for name, one in app.services.items()] == [
        ("db", "address_from", 5),
        ("api", "url", 2),
    ]
