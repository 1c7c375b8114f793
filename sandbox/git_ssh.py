"""Git repositories over SSH, read-only, for deploy keys."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from pathlib import Path

import asyncssh

from sandbox.api.faults import Fault, Faults
from sandbox.git_http import GIT_ENVIRONMENT

USER = "git"
# The method of requests over SSH, for the patterns of faults.
METHOD = "SSH"
REFUSED, BROKEN = 128, 1


class SshForge:
    """An SSH server that runs ``git upload-pack`` and nothing else.

    :param repositories: the directory of the bare repositories; ``ssh://git@host:port/git/<name>.git``.
    :param faults: the faults to inject; their patterns match ``/git/…`` paths and the method ``SSH``. A
        ``status`` refuses, ``slow`` and ``hang`` delay; every other kind breaks the connection.
    :param directory: for its keys; those that exist are used.
    """

    def __init__(self, host: str, port: int, repositories: Path, faults: Faults, directory: Path) -> None:
        self.host = host
        self.port = port
        self.deploy_key = directory / "deploy_key"
        self.known_hosts = directory / "known_hosts"
        #: OpenSSH's format; read at each login.
        self.authorized_keys = directory / "authorized_keys"
        self._host_key = directory / "host_key"
        self._repositories = repositories.resolve()
        self._faults = faults
        self._acceptor: asyncssh.SSHAcceptor | None = None
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for key in (self._host_key, self.deploy_key):
            if not key.exists():
                made = asyncssh.generate_private_key("ssh-ed25519")
                key.touch(mode=0o600)
                key.write_bytes(made.export_private_key())
                key.with_suffix(".pub").write_bytes(made.export_public_key())
        self.authorized_keys.write_bytes(self.deploy_key.with_suffix(".pub").read_bytes())

    async def start(self) -> None:
        """Accept connections; port 0 becomes a free one."""
        self._acceptor = await asyncssh.listen(
            self.host,
            self.port,
            server_factory=lambda: _Login(self.authorized_keys),
            server_host_keys=[str(self._host_key)],
            process_factory=self._serve,
            encoding=None,
        )
        self.port = self._acceptor.get_port()
        public = self._host_key.with_suffix(".pub").read_text().strip()
        self.known_hosts.write_text(f"[{self.host}]:{self.port} {public}\n")

    async def stop(self) -> None:
        """Refuse new connections; those that exist stay."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            program, path = shlex.split(process.command or "")
        except ValueError:
            program, path = "", ""
        fault = self._faults.take(METHOD, path)
        if fault is not None and not await self._misbehave(process, fault):
            return
        repository = (self._repositories / path.removeprefix("/git/")).resolve()
        if program == "git-receive-pack":
            _end(process, "ERROR: The key you are authenticating with has been marked as read only.")
        elif program != "git-upload-pack":
            _end(process, "This is a git server: it gives no shell.")
        elif not (repository.is_relative_to(self._repositories) and (repository / "HEAD").is_file()):
            _end(process, "ERROR: Repository not found.")
        else:
            await _upload(process, repository)

    async def _misbehave(self, process: asyncssh.SSHServerProcess[bytes], fault: Fault) -> bool:
        """Return whether the request is answered after all."""
        if fault.kind == "slow":
            await self._faults.wait(fault.seconds)
            return True
        if fault.kind == "status" and fault.status < 500:
            _end(process, "ERROR: Repository not found.")
        elif fault.kind == "status":
            _end(process, "ERROR: Internal server error", BROKEN)
        else:
            if fault.kind == "hang":
                await self._faults.wait(None)
            process.channel.get_connection().abort()
        return False


class _Login(asyncssh.SSHServer):
    def __init__(self, authorized_keys: Path) -> None:
        self._authorized_keys = authorized_keys
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        if self._connection is not None and username == USER:
            self._connection.set_authorized_keys(str(self._authorized_keys))
        return True


async def _upload(process: asyncssh.SSHServerProcess[bytes], repository: Path) -> None:
    protocol = process.env.get("GIT_PROTOCOL", "")
    git = await asyncio.create_subprocess_exec(
        "git",
        "upload-pack",
        "--strict",
        str(repository),
        env={**GIT_ENVIRONMENT, "GIT_PROTOCOL": str(protocol)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await process.redirect(stdin=git.stdin, stdout=git.stdout, stderr=git.stderr)
        status = await git.wait()
        await process.stdout.drain()
        process.exit(status)
        await process.wait_closed()
    finally:
        with contextlib.suppress(ProcessLookupError):
            git.kill()


def _end(process: asyncssh.SSHServerProcess[bytes], text: str, status: int = REFUSED) -> None:
    process.stderr.write(f"{text}\n".encode())
    process.exit(status)
