"""What names, paths and addresses look like: each pattern once, for :func:`re.fullmatch`.

None of them allows a character that means something to a shell or to HAProxy's configuration: blanks, quotes,
backslashes, ``#``, ``$`` and control characters.
"""

from __future__ import annotations

# An app's id names a DAG, and with `build-` before it a Linux user, whose name has at most 32 characters.
APP_ID = r"[a-z][a-z0-9_]{0,25}"

# A full commit id, in small letters.
REVISION = r"[0-9a-f]{40}"

# What DigitalOcean accepts as a tag.
TAG = r"[A-Za-z0-9_:-]{1,255}"

# A droplet's name, which is also its name in HAProxy's configuration.
SERVER_NAME = r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?"

# A host name in small letters; all of it has at most LONGEST_HOST_NAME characters (RFC 1035).
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = rf"{_LABEL}(\.{_LABEL})*"
LONGEST_HOST_NAME = 253

# A path with its query, as a client asks for it.
LONGEST_PATH = 200
URL_PATH = rf"/[A-Za-z0-9._~/?=&%-]{{0,{LONGEST_PATH - 1}}}"

# An absolute path of a file on a machine.
FILE_PATH = rf"/[A-Za-z0-9._/-]{{1,{LONGEST_PATH - 1}}}"

# A path below some directory. No part is empty, `.` or `..`, and none looks like a program's option.
_PART = r"\.?[A-Za-z0-9_@+][A-Za-z0-9_@+.-]*"
RELATIVE_PATH = rf"{_PART}(/{_PART})*"

# A Debian package. apt-get takes a `-` at the end for an order to remove the package.
DEBIAN_PACKAGE = r"[a-z0-9][a-z0-9+.-]{0,98}[a-z0-9+]"

# An environment variable.
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]{0,127}"

# An Airflow connection's id.
CONNECTION_ID = r"[A-Za-z0-9_.-]+"

# The preview key, which stands in HAProxy's configuration and in an HTTP header.
PREVIEW_KEY = r"[A-Za-z0-9!%&()*+,./:;<=>?@\[\]^_`{|}~-]{16,128}"


def whole(pattern: str) -> str:
    """Return a pattern for the whole of a text, as pydantic and JSON Schema, which search, need it."""
    return f"^{pattern}$"
