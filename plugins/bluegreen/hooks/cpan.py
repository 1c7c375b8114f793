"""What an app's CPAN mirror asks for, from its Airflow connection."""

from __future__ import annotations

import base64
import re

from airflow.sdk.log import mask_secret

from bluegreen.errors import SettingsError
from bluegreen.hooks.connection import get_connection
from bluegreen.settings.app import App

# A colon ends the login in HTTP's basic authentication (RFC 7617).
_LOGIN, _PASSWORD = r"[^\x00-\x1f\x7f:]{1,256}", r"[^\x00-\x1f\x7f]{1,4096}"


def cpan_credentials(app: App) -> dict[str, str] | None:
    """Return ``login`` and ``password`` for an app's CPAN mirror; logs show them as ``***``.

    :return: ``None`` if the mirror asks for none.
    :raises SettingsError: naming the connection, and never a value.
    """
    conn_id = app.connections.cpan
    if conn_id is None:
        return None
    connection = get_connection(conn_id)
    login, password = connection.login or "", connection.password or ""
    for name, value, pattern in (("login", login, _LOGIN), ("password", password, _PASSWORD)):
        if not re.fullmatch(pattern, value):
            raise SettingsError(
                f"the Airflow connection {conn_id!r} has no {name} that a CPAN mirror can be asked with: one "
                "line, and no colon in the login"
            )
    mask_secret(password)
    mask_secret(base64.b64encode(f"{login}:{password}".encode()).decode())
    return {"login": login, "password": password}
