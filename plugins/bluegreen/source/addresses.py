"""Addresses of repositories: which are allowed, and what a submodule's relative one means."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_HOST = r"[A-Za-z0-9_][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9.-]*"
# ``user@host:path``, as ssh's own tools have it.
_SCP_LIKE = re.compile(rf"{_HOST}:[A-Za-z0-9._~/-]+")
LONGEST = 2000


def check_address(url: str) -> str:
    """Return the address of a repository that git may read.

    :raises ValueError: if it is of another kind, such as a local path, or holds a password. The text does not
        repeat the address.
    """
    if _SCP_LIKE.fullmatch(url):
        return url
    try:
        parts = urlsplit(url)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError:
        raise ValueError("it is no URL") from None
    if parts.scheme not in ("https", "http", "ssh") or not host or host.startswith("-"):
        raise ValueError("allowed are https://…, http://…, ssh://… and user@host:path")
    if parts.password or (user and parts.scheme in ("http", "https")):
        raise ValueError("a password or token does not belong in this file; connections.repository has it")
    if len(url) > LONGEST or not url.isprintable() or " " in url or (user or "").startswith("-"):
        raise ValueError(f"an address has no blanks, no control characters, and at most {LONGEST} characters")
    return url


def submodule_address(parent: str, url: str) -> str:
    """Return what a submodule's URL means; a relative one starts at the address of its parent, as in git.

    :raises ValueError: if it leads above the parent's host, or is not allowed, see :func:`check_address`.
    """
    if not url.startswith(("./", "../")):
        return check_address(url)
    start, rest = parent.rstrip("/"), url
    while True:
        if rest.startswith("./"):
            rest = rest[2:]
        elif rest.startswith("../"):
            start, rest = _without_last(start), rest[3:]
        else:
            break
    joint = "" if start.endswith(":") else "/"
    return check_address(f"{start}{joint}{rest}")


def _without_last(address: str) -> str:
    """Return an address without its last part, as git does it: the part after the last ``/``, else ``:``."""
    scheme, separator, path = address.rpartition("://")
    shorter, slash, _ = path.rpartition("/")
    if slash:
        return f"{scheme}{separator}{shorter}"
    host, colon, last = path.rpartition(":")
    if colon and last and not separator:
        return f"{host}:"
    raise ValueError("it leads above the host of its parent")
