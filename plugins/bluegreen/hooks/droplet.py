"""Short commands on a droplet, over the SSH provider's connection."""

from __future__ import annotations

import base64
import shlex
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Timer
from typing import TYPE_CHECKING

from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk import BaseHook

from bluegreen.errors import BlueGreenError, DropletRefusedError, HostKeyError, SettingsError
from bluegreen.hooks.connection import get_connection, usable_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from airflow.sdk import Connection
    from paramiko import Channel, SFTPClient, Transport

    from bluegreen.fleet.droplets import Droplet
    from bluegreen.settings.app import App

# Maximum parallel SSH connections per task.
CONNECTIONS_AT_ONCE = 16

# The most bytes of one command's output, and its longest run, as a multiple of its longest silence.
MOST_BYTES = 8 << 20
LONGEST_COMMAND = 20
# The most bytes of a followed command. A job's output is bounded on the droplet; this is the backstop.
MOST_STREAMED = 64 << 20


class DropletUnreachableError(BlueGreenError):
    """A droplet cannot be reached by SSH, or the connection was lost."""

    transient = True


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: exit status, standard output and standard error."""

    status: int
    stdout: str
    stderr: str


@cache
def ssh_connection(conn_id: str) -> Connection:
    """Return the connection of all droplets of an app; Airflow is asked for it once in a task's process."""
    return get_connection(conn_id)


class _SshHook(SSHHook):
    """The provider's hook, with the connection that is known already."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection."""
        return ssh_connection(conn_id)


class DropletHook(BaseHook):
    """One droplet over SSH, with the host key that was recorded for it.

    The SSH provider's ``SSHHook`` opens the connection, but its ``exec_ssh_client_command`` does not run the
    commands: it logs them, and its timeout is of silence only, see docs/decisions/airflow.md.

    :param droplet: the droplet, which is reached by its public address.
    :param conn_id: Airflow connection of type ``ssh`` with login and key; its host is not used.
    :param connect_timeout: seconds to open the connection.
    :param command_timeout: seconds without any output after which a command counts as lost.
    :raises DropletUnreachableError: if the droplet has no public address.
    :raises SettingsError: if the connection is not there or not usable.
    """

    def __init__(self, droplet: Droplet, conn_id: str, connect_timeout: int, command_timeout: int) -> None:
        super().__init__()
        self.droplet = droplet
        self.command_timeout = command_timeout
        if droplet.public is None:
            raise DropletUnreachableError(f"{droplet.name} has no public address, so SSH cannot reach it")
        with usable_connection(conn_id):
            self.ssh = _SshHook(
                ssh_conn_id=conn_id,
                remote_host=str(droplet.public),
                conn_timeout=connect_timeout,
                banner_timeout=connect_timeout,
                auth_timeout=connect_timeout,
                conn_retry_attempts=1,
                no_host_key_check=False,
            )
        self.ssh.allow_host_key_change = False
        # What is large is compressed already: artifacts, and the agent with each question.
        self.ssh.compress = False
        if droplet.host_key is not None:
            self.ssh.host_key = _parse_host_key(droplet.host_key)

    @classmethod
    def of(cls, droplet: Droplet, app: App) -> DropletHook:
        """Make the hook with an app's connection and timeouts."""
        return cls(droplet, app.connections.ssh, app.timeouts.ssh_connect, app.timeouts.ssh_command)

    def close(self) -> None:
        """Close the connection if it is open."""
        if self.ssh.client is not None:
            self.ssh.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, command: Sequence[str], stdin: str | bytes = "", silence: float = 0) -> CommandResult:
        """Run one command; each word reaches it exactly as it is here.

        :param command: the words of the command.
        :param stdin: its standard input.
        :param silence: seconds that it may print nothing, if that is longer than ``command_timeout``.
        :raises DropletUnreachableError: if the droplet does not answer or stops answering.
        :raises DropletRefusedError: if the host key or the login is refused.
        """
        silence = max(silence, self.command_timeout)
        with self._losses_named(silence):
            return self._exchange(self._connect(), shlex.join(command), stdin, silence)

    def stream(self, command: Sequence[str], stdin: str | bytes = "") -> Generator[str]:
        """Run one command, and yield each line that it prints, errors included, as it comes.

        :param command: the words of the command; it may print nothing for ``command_timeout`` seconds.
        :param stdin: its standard input.
        :raises DropletUnreachableError: if the droplet does not answer or stops answering.
        :raises DropletRefusedError: if the host key or the login is refused, or if it prints too much.
        """
        with self._losses_named(self.command_timeout):
            transport = self._connect()
            with self._started(transport, shlex.join(command), stdin, self.command_timeout) as channel:
                channel.set_combine_stderr(True)
                yield from self._lines(channel)
                with self._limit(transport):
                    if channel.recv_exit_status() == -1:
                        raise EOFError("the command ended without an exit status")

    @contextmanager
    def sftp(self) -> Iterator[SFTPClient]:
        """Yield a client for the droplet's files; each of its answers takes ``command_timeout`` at most.

        What it raises for a file, rather than for the connection, is for the caller to handle.

        :raises DropletUnreachableError: if the droplet does not answer or stops answering.
        :raises DropletRefusedError: if the host key or the login is refused.
        """
        from paramiko import SFTPClient

        with self._losses_named(self.command_timeout):
            transport = self._connect()
            with self._limit(transport):
                client = SFTPClient.from_transport(transport)
            if client is None:
                raise EOFError("no channel for SFTP")
            with client:
                client.get_channel().settimeout(self.command_timeout)
                yield client

    def _lines(self, channel: Channel) -> Iterator[str]:
        received, left = b"", MOST_STREAMED
        while part := channel.recv(1 << 16):
            *lines, received = (received + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            left -= len(part)
            if left < 0 or len(received) > MOST_BYTES:
                self.close()
                raise DropletRefusedError(f"{self.droplet.label}: a command was given up: it wrote too much")

    @contextmanager
    def _losses_named(self, silence: float) -> Iterator[None]:
        """Close a lost connection, and raise the error that describes it."""
        from paramiko import SSHException

        try:
            yield
        except TimeoutError:
            self.close()
            raise DropletUnreachableError(
                f"{self.droplet.label} said nothing for {silence:g} s in answer to a command; "
                "the link is cut, or the command is still at work there"
            ) from None
        except (OSError, EOFError, SSHException) as error:
            self.close()
            raise DropletUnreachableError(
                f"the SSH connection to {self.droplet.label} was lost: {_reason(error)}"
            ) from None

    def _connect(self) -> Transport:
        from paramiko import AuthenticationException, BadHostKeyException, SSHException

        try:
            transport = self.ssh.get_conn().get_transport()
            if transport is None:
                raise EOFError("no transport")
        except BadHostKeyException as error:
            raise self._wrong_host_key(error.expected_key) from None
        except AuthenticationException:
            raise DropletRefusedError(
                f"{self.droplet.label} refused the login of connection {self.ssh.ssh_conn_id!r}; "
                "is its public key among the app's ssh_keys?"
            ) from None
        except SSHException as error:
            if "known_hosts" in str(error):
                raise HostKeyError(
                    f"no SSH host key is recorded for {self.droplet.label}; a droplet that the provision "
                    "DAG did not create needs a line in Airflow's known_hosts"
                ) from None
            raise DropletUnreachableError(
                f"{self.droplet.label} does not speak SSH: {_reason(error)}"
            ) from None
        except (FileNotFoundError, PermissionError) as error:
            raise SettingsError(
                f"the key of connection {self.ssh.ssh_conn_id!r} cannot be read: {_reason(error)}"
            ) from None
        except (OSError, EOFError) as error:
            raise DropletUnreachableError(
                f"{self.droplet.label} cannot be reached by SSH (powered off, or cut off?): {_reason(error)}"
            ) from None
        # A line in known_hosts overrides the recorded key, so paramiko's own check is not enough.
        if self.ssh.host_key is not None and transport.get_remote_server_key() != self.ssh.host_key:
            self.close()
            raise self._wrong_host_key(self.ssh.host_key)
        self._notice_a_cut_link(transport)
        return transport

    def _wrong_host_key(self, expected: object) -> HostKeyError:
        if self.ssh.host_key is not None and expected != self.ssh.host_key:
            return HostKeyError(
                f"Airflow's known_hosts has another SSH host key for {self.droplet.label} than the recorded "
                "one; the line is of an earlier machine with that address: remove it"
            )
        return HostKeyError(
            f"{self.droplet.label} answers with another SSH host key than the recorded one; it was "
            "rebuilt, or something else answers at its address: replace the droplet, or investigate"
        )

    def _notice_a_cut_link(self, transport: Transport) -> None:
        """Let the kernel end the connection; it would wait a quarter of an hour otherwise."""
        if isinstance(transport.sock, socket.socket) and hasattr(socket, "TCP_USER_TIMEOUT"):
            milliseconds = self.command_timeout * 1000
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    @contextmanager
    def _started(
        self, transport: Transport, command: str, stdin: str | bytes, silence: float
    ) -> Iterator[Channel]:
        """Start a command, and send its input."""
        with transport.open_session(timeout=self.command_timeout) as channel:
            channel.settimeout(silence)
            with self._limit(transport):
                channel.exec_command(command)
            try:
                channel.sendall(stdin if isinstance(stdin, bytes) else stdin.encode())
                channel.shutdown_write()
            except TimeoutError:
                raise
            except OSError:
                # It ended without reading all; its output and status say why.
                self.log.debug("%s: the command did not read all of its input", self.droplet.label)
            yield channel

    def _exchange(
        self, transport: Transport, command: str, stdin: str | bytes, silence: float
    ) -> CommandResult:
        with self._started(transport, command, stdin, silence) as channel:
            seconds = silence * LONGEST_COMMAND
            # Standard error gets less than a channel's window (2 MB), so it does not block the rest.
            stdout = self._read(channel.recv, seconds)
            stderr = self._read(channel.recv_stderr, seconds)
            with self._limit(transport):
                status = channel.recv_exit_status()
        if status == -1:
            raise EOFError("the command ended without an exit status")
        return CommandResult(status, stdout, stderr)

    def _read(self, receive: Callable[[int], bytes], seconds: float) -> str:
        """Read to the end; what drips, or does not end, is given up."""
        read, ends = bytearray(), time.monotonic() + seconds
        while part := receive(1 << 16):
            read += part
            if len(read) > MOST_BYTES or time.monotonic() > ends:
                self.close()
                limit = (
                    f"it wrote more than {MOST_BYTES >> 20} MB"
                    if len(read) > MOST_BYTES
                    else f"it did not end within {seconds:g} s"
                )
                raise DropletRefusedError(f"{self.droplet.label}: a command was given up: {limit}")
        return read.decode(errors="replace")

    @contextmanager
    def _limit(self, transport: Transport) -> Iterator[None]:
        """Paramiko waits without a limit for some answers; closing the transport ends that."""
        timer = Timer(self.command_timeout, transport.close)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _parse_host_key(line: str) -> object:
    from paramiko import Ed25519Key

    return Ed25519Key(data=base64.b64decode(line.split()[1]))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
