"""An SSH server on 127.0.0.1 that does what a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko

from bluegreen.fleet.host_keys import HostKeyPair, generate

Answer = Callable[[paramiko.Channel, bytes], None]


def says(stdout: str = "", stderr: str = "", status: int = 0) -> Answer:
    """Read all input, then write and exit."""

    def answer(channel: paramiko.Channel, _command: bytes) -> None:
        channel.makefile("rb").read()
        channel.sendall(stdout.encode())
        channel.sendall_stderr(stderr.encode())
        channel.send_exit_status(status)
        channel.close()

    return answer


class _Session(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    def __init__(self, server: SshServer) -> None:
        self.server = server

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        accepted = key.get_base64() == self.server.login_key.public.split()[1]
        return int(paramiko.AUTH_SUCCESSFUL if accepted else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command.decode())
        if self.server.hangs_before_start.is_set():
            self.server.stopped.wait(20)
        threading.Thread(target=self._answer, args=(channel, command), daemon=True).start()
        return True

    def _answer(self, channel: paramiko.Channel, command: bytes) -> None:
        self.server.answer(channel, command)


class SshServer:
    """Accepts one login key, and runs :attr:`answer` for each command."""

    def __init__(self) -> None:
        self.host_key: HostKeyPair = generate()
        self.login_key: HostKeyPair = generate()
        self.answer: Answer = says()
        self.commands: list[str] = []
        self.hangs_before_start = threading.Event()
        self.stopped = threading.Event()
        self._transports: list[paramiko.Transport] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def connection(self, **extra: str) -> str:
        """Return the Airflow connection as its environment variable holds it."""
        key = {"private_key": self.login_key.private, "look_for_keys": "false", **extra}
        return json.dumps({"conn_type": "ssh", "login": "root", "port": self.port, "extra": key})

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return sum(transport.is_active() for transport in self._transports)

    def close(self) -> None:
        """Stop accepting; end what is open."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        # A thread that waits in accept() would keep a socket that is merely closed open.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(_key(self.host_key))
            self._transports.append(transport)
            try:
                transport.start_server(server=_Session(self), event=threading.Event())
            except paramiko.SSHException:
                transport.close()


def _key(pair: HostKeyPair) -> paramiko.PKey:
    import io

    return paramiko.Ed25519Key.from_private_key(io.StringIO(pair.private))


@contextmanager
def ssh_server() -> Iterator[SshServer]:
    """Run a server for a test."""
    server = SshServer()
    try:
        yield server
    finally:
        server.close()
