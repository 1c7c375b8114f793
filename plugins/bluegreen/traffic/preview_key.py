"""The preview key, which Airflow's own requests and authorized people show to HAProxy."""

from __future__ import annotations

import hashlib
import hmac
import re

from bluegreen.errors import SettingsError
from bluegreen.patterns import PREVIEW_KEY

# The header that carries the key. HAProxy removes it before an app can see it.
PREVIEW_KEY_HEADER = "X-Preview-Key"


def derived_key(secret: bytes, app_id: str) -> str:
    """Return the key of an app without a connection for it: 64 hexadecimal digits.

    :param secret: the sealing key; it cannot be derived from the preview key.
    :param app_id: distinguishes apps that share a sealing key.
    """
    message = f"bluegreen preview key of {app_id}"
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()


def checked_key(key: str | None, connection: str) -> str:
    """Return a key from a connection.

    :param connection: the Airflow connection whose password is the key.
    :raises SettingsError: if HAProxy could misread the key, which is not part of the message.
    """
    if not key or not re.fullmatch(PREVIEW_KEY, key):
        raise SettingsError(
            f"the password of connection {connection!r} cannot be a preview key: "
            "allowed are 16 to 128 printable ASCII characters, without blanks, quotes, backslashes, "
            "'#' and '$'"
        )
    return key
