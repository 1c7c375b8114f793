"""A program: tries to reach backing services as the app would, in its cage and with its environment.

Its argument is a JSON list of ``services.ServiceCheck``, of every kind but ``command``. It writes a line for
each service: its name, a colon, and ``reached`` or why it was not, in words that have nothing of a variable's
value. Nothing is sent to a service but a request for its URL, without the user and password in it.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

# Ports that a URL need not name, by its scheme; and by the driver of a DBI data source.
PORTS = {
    **{"postgres": 5432, "postgresql": 5432, "mysql": 3306, "mariadb": 3306, "redis": 6379, "rediss": 6379},
    **{"amqp": 5672, "amqps": 5671, "mongodb": 27017, "nats": 4222, "ldap": 389, "ldaps": 636},
    **{"smtp": 25, "smtps": 465, "http": 80, "https": 443},
}
DRIVERS = {"pg": 5432, "mysql": 3306, "mariadb": 3306}
# Addresses of one name that are tried.
MOST_ADDRESSES = 4


NO_URL = "it is no URL; a password in it has to be percent-encoded"


class UnreachedError(Exception):
    """Why a service was not reached, in words that may be shown to everybody."""


def main() -> None:
    """Try all services at once; whatever hangs, the last line is written in time."""
    checks = json.loads(sys.argv[1])
    began, found = time.monotonic(), {}

    def reach(check: dict[str, Any]) -> None:
        found[check["name"]] = cause_of(check, began + check["timeout"])

    threads = [threading.Thread(target=reach, args=(check,), daemon=True) for check in checks]
    for thread in threads:
        thread.start()
    for thread, check in zip(threads, checks):
        thread.join(max(0.0, began + check["timeout"] - time.monotonic()))
        late = f"no answer within {check['timeout']:g} s"
        print(f"{check['name']}: {found.get(check['name'], late)}", flush=True)
    # The resolver of names may hang in a thread, and nothing ends it.
    os._exit(0)


def cause_of(check: dict[str, Any], until: float) -> str:
    """Return ``reached``, or why a service was not.

    :param until: by the monotonic clock.
    """
    try:
        value = check["value"]
        if check["kind"].endswith("_from"):
            value = _variable(value)
        if check["kind"].startswith("url"):
            _ask(value, until)
        else:
            _connect_to(value, until)
    except UnreachedError as error:
        return str(error)
    except http.client.InvalidURL:
        return NO_URL
    except http.client.HTTPException:
        return "what answers there does not speak HTTP"
    except OSError as error:
        return _cause_in(error) or f"no answer within {check['timeout']:g} s"
    except Exception as error:
        # The text of an error may have a part of the value.
        return f"the check failed ({type(error).__name__})"
    return "reached"


def _cause_in(error: OSError) -> str:
    """Return the system's words for an error; empty if the time was over, as Python 3.9 reports that."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not valid for it, or not by an authority that this droplet knows"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {str(error.reason).replace('_', ' ').lower()}"
    if isinstance(error, PermissionError):
        return "the cage does not let the app go there"
    return (error.strerror or "").lower()


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise UnreachedError(f"the variable {name} is not set")
    return value


def _connect_to(value: str, until: float) -> None:
    """Connect to the host that an address, a URL or a DBI data source names, or to one of several.

    :raises UnreachedError: if it names none.
    """
    failure: Exception | None = None
    for host, port in targets_in(value):
        try:
            _connect(host, port, until).close()
        except OSError as error:
            failure = failure or error
        else:
            return
    if failure is not None:
        raise failure


def targets_in(value: str) -> list[tuple[str, int]]:
    """Return host and port of what is connected to.

    :raises UnreachedError: if there is none.
    """
    if driver := re.match(r"dbi:(\w+)", value, re.IGNORECASE):
        return [_of_data_source(value, DRIVERS.get(driver[1].lower()))]
    try:
        parts = urlsplit(value if "://" in value else f"//{value}")
        hosts = _authority(parts).split(",")
        found = [urlsplit(f"//{one}") for one in hosts]
        default = PORTS.get(parts.scheme)
        targets = [(one.hostname or "", one.port or default or 0) for one in found]
    except ValueError:
        raise UnreachedError(NO_URL) from None
    if not all(host for host, _ in targets):
        raise UnreachedError("it names no host; check a local socket by a command")
    if not all(port for _, port in targets):
        raise UnreachedError("it names no port")
    return targets


def _authority(parts: SplitResult) -> str:
    """Return hosts and ports of a URL.

    :raises ValueError: if a character in the password has ended it.
    """
    if "@" not in parts.netloc and "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError
    return parts.netloc.rpartition("@")[2]


def _of_data_source(value: str, default: int | None) -> tuple[str, int]:
    pairs = dict(re.findall(r"[;:](host|hostname|port)=([^;]*)", value))
    host, port = pairs.get("host") or pairs.get("hostname"), pairs.get("port") or default
    if not host or host.startswith("/"):
        raise UnreachedError("it names no host; check a local socket by a command")
    if not port or not str(port).isdigit():
        raise UnreachedError("it names no port")
    return host, int(port)


def _ask(url: str, until: float) -> None:
    """Ask for a URL, and read the head of the answer; a redirect is an answer.

    :raises UnreachedError: if the answer is an error of the server.
    """
    if not url.startswith(("http://", "https://")):
        raise UnreachedError("it is no URL that begins with http:// or https://")
    [(host, port), *_] = targets_in(url)
    parts = urlsplit(url)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    connection = http.client.HTTPConnection(host, port)
    connection.sock = _connect(host, port, until)
    if parts.scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    # Only the two defaults need no port in the header Host.
    headers = {"Host": _authority(parts), "User-Agent": "bluegreen-agent", "Connection": "close"}
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    if status >= 500:
        raise UnreachedError(f"it answers {status}")


def _connect(host: str, port: int, until: float) -> socket.socket:
    """Connect to the first of a host's addresses that takes the connection.

    :raises UnreachedError: if they are those of the metadata service.
    """
    known = list(_addresses(host, port))[:MOST_ADDRESSES]
    failure: OSError = TimeoutError()
    for place, (family, address) in enumerate(known):
        left = until - time.monotonic()
        if left <= 0:
            break
        connection = socket.socket(family, socket.SOCK_STREAM)
        # An address that swallows everything leaves the others their share.
        connection.settimeout(left / (len(known) - place))
        try:
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            connection.settimeout(max(0.01, until - time.monotonic()))
            return connection
    raise failure


def _addresses(host: str, port: int) -> Iterator[tuple[socket.AddressFamily, Any]]:
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if (getattr(found, "ipv4_mapped", None) or found).is_link_local:
            raise UnreachedError("it is a link-local address, and apps may not reach the metadata service")
        yield family, address


if __name__ == "__main__":
    main()
