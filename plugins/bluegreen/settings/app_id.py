"""The name of an app."""

from __future__ import annotations

import re

# An app id names a DAG, and with a prefix a Linux user (32 characters at most), see `system_name`.
APP_ID_PATTERN = r"^[a-z][a-z0-9_]{0,27}$"


def check_app_id(app_id: str) -> None:
    """Refuse what is no app's id, before it gets into a script.

    :raises ValueError: saying what it is.
    """
    if not re.fullmatch(APP_ID_PATTERN, app_id):
        raise ValueError(f"{app_id!r} is no app's id")
