"""Which ports answer, as a stranger, a neighbour, or a droplet of the app finds out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

from sandbox import Machine

# What a firewall drops is not answered at all, so all ports are tried at once. The kernel makes the
# connections and repeats a packet that got lost: a busy machine hides no open port, because a port that
# must be open is waited for, and the others have a second more than it took.
PROGRAM = """
import json, socket, sys, time
address, source, ports, expected = sys.argv[1], sys.argv[2], *map(json.loads, sys.argv[3:])

def connecting(port):
    one = socket.socket()
    one.setblocking(False)
    if source:
        one.bind((source, 0))
    one.connect_ex((address, port))
    return one

def is_open(one):
    try:
        one.getpeername()
    except OSError:
        return False
    return True

tried = {port: connecting(port) for port in ports}
deadline = time.monotonic() + 20
while time.monotonic() < deadline and not all(is_open(tried[port]) for port in expected):
    time.sleep(0.05)
time.sleep(1)
print(json.dumps([port for port, one in tried.items() if is_open(one)]))
"""
# Where things of this project and of others usually listen.
USUAL = (22, 80, 443, 3000, 3306, 5000, 5432, 6379, 8000, 8080, 8404, 9100)


def listening(machine: Machine) -> set[int]:
    """Return the TCP ports on which anything listens there, on whatever address."""
    rows = machine.run(["ss", "--tcp", "--listening", "--numeric", "--no-header"]).stdout.splitlines()
    return {int(row.split()[3].rpartition(":")[2]) for row in rows}


def assert_open(
    expected: Iterable[int], target: str, of: Machine, *, by: Machine | None = None, source: str = ""
) -> None:
    """Fail unless exactly these ports accept a connection.

    :param target: an address.
    :param of: the machine that has it; every port that it listens on is tried.
    :param by: the machine that connects; this one if ``None``.
    :param source: the address that it connects from.
    """
    wanted = sorted(expected)
    ports = sorted({*USUAL, *wanted, *listening(of)})
    arguments = [PROGRAM, target, source, json.dumps(ports), json.dumps(wanted)]
    if by is not None:
        output = by.run(["python3", "-c", *arguments]).stdout
    else:
        command = [sys.executable, "-c", *arguments]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == wanted, f"open at {target}, seen from {by.name if by else 'this machine'}"
