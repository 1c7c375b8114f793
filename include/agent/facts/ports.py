"""Which ports of other machines take a connection, found out by connecting; nothing is sent.

What a firewall drops is not answered, so all ports are tried at once. A connection is closed as soon as it is
there, because a worker of the app may wait for a request on it. The plugin tries ports from Airflow with this
module, too.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from agent.protocol import AgentError, Code, Json

OPEN, REFUSED, NO_ANSWER = "open", "refused", "no answer"
# Seconds that a connection may take. The kernel sends a second packet after one.
SECONDS = 2.0
# A process may have 1024 files.
MOST_PORTS = 500


@dataclass(frozen=True)
class Port:
    """A TCP port of a machine.

    :param is_wanted: whether it should be reached, and so is tried again if it was not.
    """

    address: str
    port: int
    is_wanted: bool

    @property
    def label(self) -> str:
        """Address and port, as facts have them."""
        return f"{self.address}:{self.port}"


def ports_in(request: Json) -> list[Port]:
    """Return the ports that a request for facts names.

    :raises AgentError: with the code ``bad_request``.
    """
    asked = request["ports"]
    if not isinstance(asked, list) or len(asked) > MOST_PORTS:
        raise AgentError(Code.BAD_REQUEST, f"ports: {asked!r:.60} is no list of up to {MOST_PORTS} ports")
    return [_port(one) for one in asked]


def _port(asked: Any) -> Port:
    try:
        address, port, is_wanted = str(IPv4Address(asked["address"])), asked["port"], asked["is_wanted"]
    except (TypeError, KeyError, ValueError):
        address, port, is_wanted = "", None, None
    if type(port) is not int or not 0 < port < 65536 or type(is_wanted) is not bool:
        raise AgentError(Code.BAD_REQUEST, f"ports: {asked!r:.60} is no port")
    return Port(address, port, is_wanted)


def try_ports(ports: Sequence[Port]) -> dict[str, str]:
    """Return what each port has answered, by its label; it takes twice ``SECONDS`` at most.

    A port is left out that this machine could not try. What should be reached and was not is tried once more,
    because packets may be lost.
    """
    found = _try(ports)
    missed = [port for port, answer in found.items() if port.is_wanted and answer == NO_ANSWER]
    if missed:
        found.update(_try(missed))
    return {port.label: answer for port, answer in found.items()}


def _try(ports: Sequence[Port]) -> dict[Port, str]:
    found: dict[Port, str] = {}
    connecting: dict[int, tuple[Port, socket.socket]] = {}
    waiting = select.poll()
    for port in dict.fromkeys(ports):
        one = _begin(port, found)
        if one is not None:
            connecting[one.fileno()] = port, one
            waiting.register(one, select.POLLOUT)
    end = time.monotonic() + SECONDS
    while connecting and (left := end - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(left * 1000):
            waiting.unregister(descriptor)
            port, one = connecting.pop(descriptor)
            found[port] = _answer(one)
            one.close()
    for port, one in connecting.values():
        found[port] = _answer(one)
        one.close()
    return found


def _begin(port: Port, found: dict[Port, str]) -> socket.socket | None:
    """Return a connection that the kernel makes, or None if that was decided at once, or cannot be tried."""
    try:
        one = socket.socket()
    except OSError:
        return None
    one.setblocking(False)
    result = one.connect_ex((port.address, port.port))
    if result in (0, errno.EINPROGRESS):
        return one
    one.close()
    # Without a port of its own, this machine cannot try.
    if result not in (errno.EADDRNOTAVAIL, errno.EAGAIN):
        found[port] = REFUSED if result == errno.ECONNREFUSED else NO_ANSWER
    return None


def _answer(one: socket.socket) -> str:
    try:
        one.getpeername()
    except OSError:
        is_refused = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        return REFUSED if is_refused else NO_ANSWER
    return OPEN
