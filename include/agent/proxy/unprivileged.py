"""HAProxy without root's rights: the drop-in of its unit, and the files that it then has to read."""

from __future__ import annotations

import contextlib
import grp
import os
import pkgutil
import re
import stat
from pathlib import Path

from agent.paths import Paths
from agent.protocol import AgentError, Code
from agent.system import CallDeadline, alert, write_atomically

USER = "haproxy"
NAME = "unprivileged.conf"
# The mode of the files that it reads: root writes them, HAProxy's group reads them.
FOR_HAPROXY = 0o640
# Runs a command as the drop-in runs HAProxy: HAProxy's own check executes Lua and opens files, too.
AS_HAPROXY = (
    # HAProxy comes back to the directory that it was started in, which may be root's own.
    "env",
    "--chdir=/",
    "setpriv",
    f"--reuid={USER}",
    f"--regid={USER}",
    "--init-groups",
    "--inh-caps=-all",
    "--no-new-privs",
)
# HAProxy can change its root directory as root only.
_CHROOT = re.compile(rb"^[ \t]*chroot\b", re.MULTILINE)


def drop_in() -> bytes:
    """Return the drop-in's text."""
    text = pkgutil.get_data("agent.proxy", NAME)
    assert text is not None  # noqa: S101
    return text


def write_for_haproxy(path: Path, data: bytes) -> None:
    """Replace a file that HAProxy may read, and nobody else but root."""
    write_atomically(path, data, FOR_HAPROXY, _group())


def is_for_haproxy(path: Path) -> bool:
    """Whether HAProxy may read a file of root's, and nobody else."""
    about = path.stat()
    return stat.S_IMODE(about.st_mode) == FOR_HAPROXY and about.st_gid == (_group() or about.st_gid)


def _group() -> int | None:
    """HAProxy's group; None without HAProxy, or for a writer who cannot give files away."""
    try:
        return grp.getgrnam(USER).gr_gid if os.geteuid() == 0 else None
    except KeyError:
        return None


class Unprivileged:
    """The drop-in on this machine. It takes effect when HAProxy is started, not when it is reloaded."""

    def __init__(self, paths: Paths, deadline: CallDeadline) -> None:
        self.paths, self.deadline = paths, deadline

    @staticmethod
    def fits(config: bytes) -> bool:
        """Whether HAProxy can start with a configuration without being root."""
        return _CHROOT.search(config) is None

    def is_there(self) -> bool:
        """Whether the file is as it should be."""
        try:
            return self.paths.haproxy_drop_in.read_bytes() == drop_in()
        except OSError:
            return False

    def install(self) -> None:
        """Put the file there; costs nothing if it is. The installed configuration has to fit.

        :raises AgentError: with the code ``not_installed``.
        """
        if self.is_there():
            return
        try:
            write_atomically(self.paths.haproxy_drop_in, drop_in(), 0o644)
        except OSError as error:
            message = f"{self.paths.haproxy_drop_in} cannot be written: {error.strerror}"
            raise AgentError(Code.NOT_INSTALLED, message) from None
        self._reload_units()

    def remove(self) -> None:
        """Take the file away, for a configuration that does not fit."""
        with contextlib.suppress(FileNotFoundError):
            self.paths.haproxy_drop_in.unlink()
            self._reload_units()

    def _reload_units(self) -> None:
        status, output = self.deadline.run("systemctl", "daemon-reload")
        if status != 0:
            raise AgentError(Code.NOT_INSTALLED, f"systemd does not read its units again: {alert(output)}")
