"""The faults of a machine, by name."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.errors import SandboxError
from sandbox.machine import Machine

NEW_HOST_KEY = (
    "rm -f /etc/ssh/ssh_host_* && ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key "
    "&& systemctl restart ssh"
)


def kill(machine: Machine, pattern: str) -> str:
    """Kill the processes in a machine whose command line matches a pattern; none matching is an error."""
    if not pattern:
        raise SandboxError("which process? Give a pattern that matches its command line")
    try:
        return machine.execute("pkill", "--echo", "--signal", "KILL", "--full", "--", pattern).strip()
    except SandboxError as error:
        if "failed with status 1:" in str(error):
            raise SandboxError(f"no process matches {pattern!r}") from error
        raise


def change_host_key(machine: Machine) -> str:
    """Give a machine's sshd another key; returns the public half."""
    machine.execute("sh", "-c", NEW_HOST_KEY)
    return machine.execute("cat", "/etc/ssh/ssh_host_ed25519_key.pub").strip()


FAULTS: dict[str, Callable[[Machine, str], object]] = {
    "cut-link": lambda machine, _: machine.cut_link(),
    "restore-link": lambda machine, _: machine.restore_link(),
    "fill-disk": lambda machine, _: machine.disk.fill(),
    "free-disk": lambda machine, _: machine.disk.free(),
    "kill": kill,
    "change-host-key": lambda machine, _: change_host_key(machine),
}
