"""The key that seals what tasks pass to each other."""

from __future__ import annotations

from pathlib import Path

from bluegreen.errors import SettingsError
from bluegreen.hooks.connection import get_connection
from bluegreen.run.seal import key_from
from bluegreen.settings.app import App


def sealing_key(app: App) -> bytes:
    """Derive the key from the SSH key: its owner can change every droplet anyway.

    :raises SettingsError: if the SSH connection is missing, or has no readable key.
    """
    name = app.connections.ssh
    connection = get_connection(name)
    extra = connection.extra_dejson
    secret, file = extra.get("private_key") or connection.password, extra.get("key_file")
    if not secret and file:
        try:
            secret = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"the key of connection {name!r} cannot be read: {error}") from None
    if not secret:
        raise SettingsError(f"the Airflow connection {name!r} has neither key_file nor private_key")
    return key_from(str(secret))
