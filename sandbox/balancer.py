"""A managed load balancer: a HAProxy whose droplets are added and removed while it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from sandbox.api.edge import Balancing, Rule
from sandbox.balancer_config import SOCKET, backend_name, render, server_name, server_words
from sandbox.errors import SandboxError
from sandbox.processes import JOIN_AND_EXEC, ProcessId, kill_cgroup, make_cgroups, run

# Debian installs HAProxy in a directory that only root's PATH has.
SEARCH_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
UP = "2"


class Balancer:
    """One load balancer. Its methods block, and are not safe to call from several threads at once.

    :param directory: for its configuration, log and process id.
    :param cgroup: the control group of its processes, below each hierarchy's root.
    :param public_address: the address that clients connect to; it must be this machine's.
    :param private_address: the address that droplets see as its source; it must be this machine's.
    """

    def __init__(self, directory: Path, cgroup: str, public_address: str, private_address: str) -> None:
        self.public_address = public_address
        self.private_address = private_address
        self._directory = directory
        self._cgroup = cgroup
        self._process: subprocess.Popen[bytes] | None = None
        self._balancing: Balancing | None = None
        # The servers that each backend has, by the droplet's id.
        self._servers: dict[str, dict[int, str]] = {}

    def start(self, balancing: Balancing, seconds: float = 10) -> None:
        """Start it without droplets.

        :raises SandboxError: HAProxy is not installed, or does not start.
        """
        self._directory.mkdir(parents=True)
        program = self._write_config(balancing, {})
        groups = [f"{group}/cgroup.procs" for group in make_cgroups(self._cgroup)]
        with (self._directory / "haproxy.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "/bin/sh",
                    "-c",
                    JOIN_AND_EXEC,
                    "sh",
                    *groups,
                    "--",
                    program,
                    "-W",
                    "-db",
                    "-f",
                    self._config,
                ],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        master = ProcessId.of(self._process.pid)
        records = [master.to_json()] if master else []
        (self._directory / "processes.json").write_text(json.dumps(records))
        self._wait_for_another_worker("", seconds)
        self._balancing = balancing

    def balance(self, balancing: Balancing, targets: Mapping[int, str]) -> bool:
        """Apply the wanted droplets; ``False`` if a removed droplet still has connections: call again.

        :raises SandboxError: HAProxy refuses.
        """
        if balancing != self._balancing:
            self._reconfigure(balancing, targets)
        complete = True
        for rule in balancing.rules:
            known = self._servers.setdefault(backend_name(rule), {})
            for droplet in [droplet for droplet, address in known.items() if targets.get(droplet) != address]:
                if self._remove(rule, droplet):
                    del known[droplet]
                else:
                    complete = False
            for droplet, address in targets.items():
                if droplet not in known:
                    self._add(rule, balancing, droplet, address)
                    known[droplet] = address
        return complete

    def stop(self) -> None:
        """Kill it and remove its files."""
        if self._process:
            self._process.kill()
            self._process.wait()
        kill_cgroup(self._cgroup)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def _config(self) -> str:
        return str(self._directory / "haproxy.cfg")

    def _write_config(self, balancing: Balancing, servers: Mapping[int, str]) -> str:
        """Write a configuration that HAProxy accepts; return HAProxy's path."""
        program = shutil.which("haproxy", path=SEARCH_PATH)
        if program is None:
            raise SandboxError("haproxy is not installed: run scripts/install-system-packages as root")
        new = f"{self._config}.new"
        Path(new).write_text(render(balancing, self.public_address, self.private_address, servers))
        run([program, "-c", "-f", new])
        Path(new).rename(self._config)
        return program

    def _reconfigure(self, balancing: Balancing, targets: Mapping[int, str], seconds: float = 10) -> None:
        """Reload; droplets that are healthy now stay in use meanwhile."""
        healthy = {droplet: targets[droplet] for droplet in self._healthy() if droplet in targets}
        self._write_config(balancing, healthy)
        worker = self._worker()
        if self._process is None:
            raise SandboxError("the load balancer has not been started")
        self._process.send_signal(signal.SIGUSR2)
        self._wait_for_another_worker(worker, seconds)
        self._servers = {backend_name(rule): dict(healthy) for rule in balancing.rules}
        self._balancing = balancing

    def _add(self, rule: Rule, balancing: Balancing, droplet: int, address: str) -> None:
        """Add a droplet that gets no traffic before it has passed its checks."""
        server = f"{backend_name(rule)}/{server_name(droplet)}"
        self._tell(f"add server {server} {server_words(address, rule, balancing)}", "registered")
        # HAProxy considers a server that becomes ready healthy until its health is set.
        self._tell(f"set server {server} weight 0")
        self._tell(f"enable health {server}")
        self._tell(f"set server {server} state ready")
        self._tell(f"set server {server} health down")
        self._tell(f"set server {server} weight 1")

    def _remove(self, rule: Rule, droplet: int) -> bool:
        server = f"{backend_name(rule)}/{server_name(droplet)}"
        self._tell(f"set server {server} state maint")
        self._tell(f"shutdown sessions server {server}")
        return "Server deleted" in self._ask(f"del server {server}")

    def _healthy(self) -> set[int]:
        """Return the droplets that are healthy for every rule."""
        ill, seen = set(), set()
        for line in self._ask("show servers state").splitlines()[2:]:
            words = line.split()
            droplet = int(words[3].removeprefix("droplet-"))
            seen.add(droplet)
            if words[5] != UP:
                ill.add(droplet)
        return seen - ill

    def _wait_for_another_worker(self, old: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._worker() in ("", old):
            if (self._process and self._process.poll() is not None) or time.monotonic() > deadline:
                log = (self._directory / "haproxy.log").read_text(errors="replace").strip()
                raise SandboxError(f"HAProxy does not start: {log.rpartition(chr(10))[2] or 'no output'}")
            time.sleep(0.01)

    def _worker(self) -> str:
        """Return the process id of the worker that answers; empty if none does."""
        try:
            info = dict(line.partition(": ")[::2] for line in self._ask("show info").splitlines())
        except SandboxError:
            return ""
        return info.get("Pid", "")

    def _tell(self, command: str, expected: str = "") -> None:
        answer = self._ask(command)
        if expected not in answer or (answer and not expected):
            raise SandboxError(f"HAProxy refuses `{command}`: {' '.join(answer.split())}")

    def _ask(self, command: str) -> str:
        # Through the directory's descriptor, because the path of a socket has at most 107 characters.
        directory = os.open(self._directory, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(f"/proc/self/fd/{directory}/{SOCKET}")
                connection.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: connection.recv(65536), b"")).decode().strip()
        except OSError as error:
            raise SandboxError(f"HAProxy does not answer: {error}") from None
        finally:
            os.close(directory)
