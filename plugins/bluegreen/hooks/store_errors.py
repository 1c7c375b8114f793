"""Errors of the artifact store, whatever kind of file system it is, in one line."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from bluegreen.errors import BlueGreenError

PROVIDERS = "an object store needs its Airflow provider: S3 and Spaces apache-airflow-providers-amazon[s3fs]"


class StoreError(BlueGreenError):
    """The store is full, away, or has something else than was put there; the text names it."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@contextmanager
def errors_named(store: str, what: str) -> Iterator[None]:
    """Turn every error of a file system, each of which has its own kinds, into one line.

    :param store: which store.
    :param what: what cannot be done with it.
    :raises StoreError: naming both, and the reason.
    """
    try:
        yield
    except BlueGreenError:
        raise
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "it is full" if full else " ".join(str(error).split())[:200] or type(error).__name__
        away = isinstance(error, (TimeoutError, ConnectionError))
        raise StoreError(f"{store} {what}: {reason}", transient=away) from None
