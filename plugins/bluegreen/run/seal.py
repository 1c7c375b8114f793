"""Seals: proof that a statement between two tasks of a run is genuine.

Users who may edit XComs in Airflow can change what tasks pass to each other. A sealed statement cannot be
made or changed without a key that only tasks can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

SEAL = "seal"


def key_from(secret: str) -> bytes:
    """Derive the key from a secret."""
    return hmac.digest(secret.encode(), b"bluegreen seal of statements between tasks", hashlib.sha256)


def sealed(key: bytes, statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement, which has to be plain data, with its seal."""
    return {**statement, SEAL: _seal(key, statement)}


def opened(key: bytes, found: Any) -> dict[str, Any] | None:
    """Return a sealed statement without its seal, or ``None`` if it was not made with this key."""
    if not isinstance(found, Mapping) or not isinstance(found.get(SEAL), str):
        return None
    statement = {name: value for name, value in found.items() if name != SEAL}
    return statement if hmac.compare_digest(found[SEAL].encode(), _seal(key, statement).encode()) else None


def _seal(key: bytes, statement: Mapping[str, Any]) -> str:
    return hmac.digest(key, json.dumps(statement, sort_keys=True).encode(), hashlib.sha256).hex()
