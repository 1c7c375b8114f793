"""The name of an app."""

from __future__ import annotations

import re

from bluegreen.patterns import APP_ID


def check_app_id(app_id: str) -> None:
    """Refuse what is no app's id, before it gets into a script.

    :raises ValueError: saying what it is.
    """
    if not re.fullmatch(APP_ID, app_id):
        raise ValueError(f"{app_id!r} is no app's id")
