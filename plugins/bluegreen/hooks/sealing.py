"""The key that seals statements and the store's records, and that other keys of an app are derived from."""

from __future__ import annotations

from bluegreen.errors import SettingsError
from bluegreen.hooks.connection import get_connection
from bluegreen.run.seal import key_from
from bluegreen.settings.app import App

# Characters; as many as 16 random bytes have in hexadecimal digits.
SHORTEST = 32


def sealing_key(app: App) -> bytes:
    """Derive the key from the password of ``connections.seal``, which never leaves Airflow.

    It also salts the digests of configurations, and the preview key is derived from it without
    ``connections.preview``. With another password the store's records count as forged, so releases are built
    again, and every configuration gets another digest.

    :raises SettingsError: if the connection is missing, or its password is too short.
    """
    name = app.connections.seal
    secret = get_connection(name).password or ""
    if len(secret) < SHORTEST:
        raise SettingsError(
            f"the password of the Airflow connection {name!r} has {len(secret)} characters, but {SHORTEST} "
            "random ones are needed; for example those that `openssl rand -hex 32` prints"
        )
    return key_from(secret)
