"""The name of an app."""

from __future__ import annotations

import re

from bluegreen.patterns import APP_ID


def check_app_id(app_id: str) -> None:
    """Refuse a malformed app id before it gets into a script.

    :raises ValueError: with the value that was found.
    """
    if not re.fullmatch(APP_ID, app_id):
        raise ValueError(f"{app_id!r} is not an app's id")
