"""An SSH server on 127.0.0.1 that does what a test tells it to."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


class _Files(paramiko.SFTPServerInterface):  # type: ignore[misc]  # paramiko has no types
    """The files below a directory, as a droplet's whole file system."""

    def __init__(self, _session: Any, server: SshServer) -> None:
        super().__init__(_session)
        self.server = server

    def _path(self, path: str) -> Path:
        return self.server.files / path.lstrip("/")

    def open(self, path: str, flags: int, attr: Any) -> Any:
        """Open a file."""
        if self.server.refuses_to_open:
            return paramiko.SFTP_FAILURE
        try:
            descriptor = os.open(self._path(path), flags, 0o600)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = _Handle(flags)
        handle.server = self.server
        handle.filename = path
        handle.readfile = handle.writefile = os.fdopen(
            descriptor, "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "wb"
        )
        return handle

    def stat(self, path: str) -> Any:
        """Return a file's attributes."""
        return self.lstat(path)

    def lstat(self, path: str) -> Any:
        """Return a file's attributes."""
        try:
            return paramiko.SFTPAttributes.from_stat(os.lstat(self._path(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def remove(self, path: str) -> Any:
        """Remove a file."""
        self._path(path).unlink()
        return paramiko.SFTP_OK

    def posix_rename(self, oldpath: str, newpath: str) -> Any:
        """Rename a file."""
        self._path(oldpath).replace(self._path(newpath))
        return paramiko.SFTP_OK


class _Handle(paramiko.SFTPHandle):  # type: ignore[misc]  # paramiko has no types
    """An open file."""

    server: SshServer

    def stat(self) -> Any:
        """Return its attributes."""
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def write(self, offset: int, data: bytes) -> Any:
        """Write, unless the disk is full or the link is cut."""
        if offset >= self.server.room:
            if self.server.full_is_silent:
                return paramiko.SFTP_OK
            return paramiko.SFTP_FAILURE
        if offset >= self.server.cut_after:
            self.server.cut()
        return super().write(offset, data)


class SshServer:
    """Accepts one login key, and runs :attr:`answer` for each command.

    :ivar files: the directory that SFTP shows as ``/``.
    :ivar room: bytes that a file may have, and whether a full disk is reported at all.
    :ivar cut_after: bytes of a file after which every connection ends, once.
    """

    def __init__(self) -> None:
        self.files = Path("/nonexistent")
        self.refuses_to_open = False
        self.room = self.cut_after = 1 << 40
        self.full_is_silent = False
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

    def cut(self) -> None:
        """End every connection; new ones are taken."""
        # Parts that were sent before must not cut the connection that the client makes next.
        self.cut_after = 1 << 40
        for transport in tuple(self._transports):
            transport.close()

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
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Files, self)
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
