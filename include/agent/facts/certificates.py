"""The certificates that HAProxy is given: one PEM file, or a directory of them, of which it takes by name.

The private keys stay on the machine.
"""

from __future__ import annotations

import itertools
import re
import ssl
from pathlib import Path

from agent.facts.bounded import MOST_NAMES, text_of
from agent.protocol import Json

LARGEST_PEM = 256 << 10
# What HAProxy leaves out in a directory: files that belong to a certificate beside them.
BESIDE = (".issuer", ".ocsp", ".sctl", ".key")
MOST_SHOWN = 200
LARGEST_SHOWN = 5 << 10
CERTIFICATE = r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----"


def certificates(paths: list[str]) -> tuple[dict[str, Json], int]:
    """Return the public part of each certificate, what is wrong with it, and how many were not looked at.

    :param paths: of PEM files, and of directories of them.
    """
    found: dict[str, Json] = {}
    left = 0
    for path in paths:
        there, more = certificates_at(path)
        found.update(there)
        left += more
    return found, left


def certificates_at(path: str) -> tuple[dict[str, Json], int]:
    """Return the same of one path."""
    place = Path(path)
    try:
        if not place.is_dir():
            return {path: certificate(path)}, 0
        files = sorted(str(one) for one in itertools.islice(place.iterdir(), MOST_NAMES) if one.is_file())
    except OSError as error:
        return {path: {"error": f"it cannot be read: {error.strerror}", "pem": ""}}, 0
    used = [one for one in files if not Path(one).name.startswith(".") and not one.endswith(BESIDE)]
    if not used:
        return {path: {"error": "the directory holds no certificate", "pem": ""}}, 0
    return {one: certificate(one) for one in used[:MOST_SHOWN]}, len(used[MOST_SHOWN:])


def certificate(path: str) -> Json:
    """Return the public part of a PEM file, and what is wrong with it."""
    text = text_of(path, LARGEST_PEM)
    if text is None:
        return {"error": "it cannot be read", "pem": ""}
    # The first one is the app's own; those of its issuers follow.
    found = re.search(CERTIFICATE, text, re.DOTALL)
    if found is None:
        return {"error": "it holds no certificate", "pem": ""}
    return {"error": key_error(path), "pem": found[0][:LARGEST_SHOWN]}


def key_error(path: str) -> str:
    """Return why HAProxy could not use a certificate, whose key is in the same file or beside it."""
    key = Path(f"{path}.key")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Without a word to answer with, OpenSSL would ask the terminal for the password of a key.
        context.load_cert_chain(path, key if key.exists() else None, password=lambda: "-")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        return f"its private key is missing, or not the one that belongs to it ({reason})"
    return ""
