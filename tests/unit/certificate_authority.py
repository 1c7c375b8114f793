"""Certificates with keys, as a certificate authority issues them."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta

import trustme

from bluegreen.traffic.certificates import KeyedCertificate


@functools.cache
def authority() -> trustme.CA:
    """Return the one authority of the tests."""
    return trustme.CA()


def issued(*names: str, days: float = 90) -> KeyedCertificate:
    """Return a new certificate for some names, with a new key."""
    now = datetime.now(UTC)
    one = authority().issue_cert(
        *names, not_before=now - timedelta(days=1), not_after=now + timedelta(days=days)
    )
    text = one.private_key_pem.bytes() + b"".join(part.bytes() for part in one.cert_chain_pems)
    return KeyedCertificate.parse(text.decode(), "a test")
