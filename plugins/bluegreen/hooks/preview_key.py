"""An app's preview key, from its Airflow connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk.log import mask_secret

from bluegreen.hooks.connection import get_connection
from bluegreen.hooks.sealing import sealing_key
from bluegreen.traffic.preview_key import checked_key, derived_key

if TYPE_CHECKING:
    from bluegreen.settings.app import App


def preview_key(app: App) -> str:
    """Return the key, a value of the header ``PREVIEW_KEY_HEADER``; logs show it as ``***``.

    It is the password of ``connections.preview`` or, without that setting, derived from the password of
    ``connections.seal``.

    :raises SettingsError: if the connection is missing, or its password is missing or not usable as a key.
    """
    if app.connections.preview is not None:
        key = checked_key(get_connection(app.connections.preview).password, app.connections.preview)
    else:
        key = derived_key(sealing_key(app), app.id)
    mask_secret(key)
    return key
