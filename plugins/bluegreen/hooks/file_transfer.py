"""Files on their way to a droplet, and from there, over the SSH connection's SFTP."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from agent.protocol import Verb
from bluegreen.errors import BlueGreenError
from bluegreen.release.artifact import ArtifactFile
from bluegreen.release.system_names import system_name

if TYPE_CHECKING:
    from paramiko import SFTPClient

    from bluegreen.hooks.droplet_agent import DropletAgentHook

CHUNK = 1 << 18
# Requests for parts of a file that are on their way at once.
REQUESTS = 64
# Paramiko's text for an answer that gives no reason; a full disk has none.
_FAILURE = "Failure"


class TransferError(BlueGreenError):
    """A file is not what it should be, or a droplet refused it."""


class AlteredFileError(TransferError):
    """A file on Airflow's side is not the one that was to be sent."""


class FileTransfer(BaseHook):
    """Files of one app on one droplet, in ``/opt/<app>/incoming`` and ``outgoing``.

    A transfer that broke off is begun anew: a file has its name only when it is whole.

    :param agent: of the droplet.
    :param app_id: the app.
    :param token: of the run; a droplet that a later run has claimed takes nothing.
    :param seconds: the longest that one transfer may take.
    :param meanwhile: called for every part; what it raises ends the transfer.
    """

    def __init__(
        self,
        agent: DropletAgentHook,
        app_id: str,
        token: int,
        seconds: float,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__()
        self.agent = agent
        self.token = token
        self.seconds = seconds
        self._app = system_name(app_id)
        self._meanwhile = meanwhile

    def has_release(self, release: str) -> bool:
        """Whether a release is on the droplet; a job that uses it checks its files."""
        with self._files("cannot be looked at") as files:
            try:
                files.lstat(f"/opt/{self._app}/releases/{release}/.bluegreen/manifest")
            except FileNotFoundError:
                return False
        return True

    def put(self, source: Path, file: ArtifactFile, *, optional: bool = False) -> None:
        """Send a file.

        :param source: where it is.
        :param file: its name there, its size and its SHA-256.
        :param optional: whether the job can do without it: then nothing makes room for it on the droplet.
        :raises AlteredFileError: if it is not what it should be; then the droplet has no file of that name.
        :raises TransferError: if the droplet refuses it, or if it takes too long.
        :raises AgentRefusedError: with the code ``claimed`` if a later run has claimed the droplet.
        """
        about = {"app": self._app, "token": self.token, **({"optional": True} if optional else {})}
        answer = self.agent.call(Verb.RECEIVE, file=file.sent, **about)
        if not answer.get("needed", True):
            return
        path = f"/opt/{self._app}/incoming/{file.name}"
        partial = f"{path}.partial.{self.token}"
        with self._files(f"cannot be sent {file.name}") as files:
            with source.open("rb") as content, files.open(partial, "wb") as target:
                # Paramiko collects the answers to its writes, and looks at them later.
                target.set_pipelined(True)
                sha256, size = self._copied(content, target, file.size)
            if files.stat(partial).st_size != size:
                raise TransferError(f"{self.agent.name} did not keep all of {file.name}; is its disk full?")
            if (sha256, size) != (file.sha256, file.size):
                files.remove(partial)
                raise AlteredFileError(f"{source} is not what it was when it was made")
            files.posix_rename(partial, path)

    def get(self, file: ArtifactFile, target: Path) -> None:
        """Fetch a file.

        :param file: its name there, and what it has to be.
        :param target: the new file.
        :raises TransferError: if it is not what it should be, or if it takes too long.
        """
        with self._files(f"does not give {file.name} away") as files:
            with files.open(f"/opt/{self._app}/outgoing/{file.name}", "rb") as source:
                if source.stat().st_size != file.size:
                    raise TransferError(
                        f"{self.agent.name}: {file.name} has another size than it should have"
                    )
                source.prefetch(file.size, max_concurrent_requests=REQUESTS)
                with target.open("xb") as content:
                    sha256, size = self._copied(source, content, file.size)
            if (sha256, size) != (file.sha256, file.size):
                raise TransferError(f"{self.agent.name}: {file.name} is not what was built there")

    def _copied(self, source: Any, target: Any, size: int) -> tuple[str, int]:
        """Copy at most one byte more than a file should have; return the SHA-256 and the size of that."""
        digest, copied, ends = hashlib.sha256(), 0, time.monotonic() + self.seconds
        while chunk := source.read(min(CHUNK, size + 1 - copied)):
            target.write(chunk)
            digest.update(chunk)
            copied += len(chunk)
            self._meanwhile()
            if time.monotonic() > ends:
                raise TransferError(
                    f"{self.agent.name}: {copied >> 20} of {size >> 20} MB were transferred within "
                    f"{self.seconds:g} s; the link is too slow for timeouts.build"
                )
        return digest.hexdigest(), copied

    @contextmanager
    def _files(self, what: str) -> Iterator[SFTPClient]:
        """Yield an SFTP client, and name its refusals; a lost connection is named by the droplet's hook."""
        with self.agent.droplet_hook.sftp() as files:
            try:
                yield files
            except (FileNotFoundError, PermissionError, FileExistsError) as error:
                raise TransferError(f"{self.agent.name} {what}: {error.strerror or error}") from None
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise TransferError(f"there is no room on Airflow's machine: {error}") from None
                if isinstance(error, TimeoutError | ConnectionError) or str(error) != _FAILURE:
                    raise
                raise TransferError(
                    f"{self.agent.name} {what}: it gives no reason; is its disk full?"
                ) from None
