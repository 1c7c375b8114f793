"""An app's configuration, from its settings and its Airflow connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow.sdk.log import mask_secret

from agent.protocol import Configuration
from bluegreen.errors import SettingsError
from bluegreen.hooks.connection import get_connection
from bluegreen.hooks.sealing import sealing_key
from bluegreen.release.configuration import Secrets, configuration_salt, make_configuration
from bluegreen.settings.app import App

# Of a secret that has several lines, a line that is shorter says nothing, and would hide too much.
SHORTEST_LINE = 8


def configuration_of(app: App, texts: Mapping[str, str]) -> Configuration:
    """Return what a release of an app runs with from now on; logs show its secrets as ``***``.

    :param texts: the text of each template by its path, see :mod:`bluegreen.release.configuration`.
    :raises SettingsError: naming the setting, the variable or the connection, and never a value.
    """
    secrets = _secrets(app)
    salt = configuration_salt(sealing_key(app), app.id)
    mask_secret(salt)
    return make_configuration(app, secrets, texts, salt)


def _secrets(app: App) -> Secrets:
    conn_id = app.connections.environment
    if conn_id is None:
        return Secrets()
    connection = get_connection(conn_id)
    extra = connection.extra_dejson
    if not extra and connection.extra:
        raise SettingsError(f"the Airflow connection {conn_id!r}: its extra is no JSON object")
    secrets = Secrets.parse(extra, conn_id)
    for value in _maskable(secrets.values):
        mask_secret(value)
    return secrets


def _maskable(values: Iterable[str]) -> set[str]:
    """Return the secrets, and the lines of those that have several: a log has one line at a time."""
    found = {value for value in values if value}
    lines = {line.strip() for value in found for line in value.splitlines()}
    return found | {line for line in lines if len(line) >= SHORTEST_LINE}
