"""Where a release is built, and how commands run there."""

from __future__ import annotations

import itertools
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import IO

from agent.droplet.app_paths import AppPaths
from agent.droplet.caged import Caged
from agent.droplet.failure_cause import failure_cause
from agent.droplet.manifest import refused, shown
from agent.droplet.reserve import is_full, no_space
from agent.protocol import AgentError, Code
from agent.system import remove_tree

# By a socket in the file system a build could hand an open directory to a service, which would go on writing
# there when the build is over. io_uring makes sockets, too, and no filter of address families sees them.
FAMILIES = "RestrictAddressFamilies="
NO_UNIX_SOCKETS = (
    f"{FAMILIES}AF_INET AF_INET6",
    "SystemCallFilter=~io_uring_setup io_uring_enter io_uring_register",
)

# What runs a command in the cage: :func:`agent.droplet.caged.run_caged`, or what a test has in its place.
RunCaged = Callable[..., Caged]


@dataclass(frozen=True)
class Workspace:
    """The directory of a build, and the cage that its commands run in as the build user.

    Its path is always the same, because what is built may contain it: the same source gives the same bytes.
    It has the name of a leftover, so that what a killed build has left is removed.

    :param unit: the job that this is part of.
    :param user: the build user's name.
    :param cage: properties of the unit of each command.
    """

    app: AppPaths
    unit: str
    user: str
    cage: Sequence[str]
    run_caged: RunCaged
    # systemd may not have forgotten a unit yet when the next command of the same name begins.
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def path(self) -> Path:
        """The directory itself; root's."""
        return self.app.root / "build.partial.d"

    @property
    def tree(self) -> Path:
        """The source, and what is built there."""
        return self.path / "tree"

    @property
    def dependencies(self) -> Path:
        """Where dependencies are installed: it has only what they are made from."""
        return self.path / "dependencies"

    @property
    def home(self) -> Path:
        """The home directory of everything that runs: caches and logs, which are no part of the release."""
        return self.path / "home"

    def make(self) -> None:
        """Make it anew."""
        remove_tree(self.path)
        self.path.mkdir(mode=0o700)
        os.chown(self.path, -1, pwd.getpwnam(self.user).pw_gid)
        self.path.chmod(0o710)
        for directory in (self.tree, self.dependencies, self.home):
            self.give(directory)

    def make_home(self) -> None:
        """Make the home directory anew."""
        remove_tree(self.home)
        self.give(self.home)

    def remove(self) -> None:
        """Remove it."""
        remove_tree(self.path)

    def give(self, directory: Path) -> None:
        """Make a directory of the build user's."""
        directory.mkdir()
        directory.chmod(0o755)
        account = pwd.getpwnam(self.user)
        os.chown(directory, account.pw_uid, account.pw_gid)

    def program(self, name: str) -> Path:
        """Return the path of a program of the agent, which the build user may read."""
        path = self.path / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.parent.chmod(0o755)
        path.write_bytes(resources.files("agent.droplet").joinpath(name).read_bytes())
        path.chmod(0o644)
        return path

    def run(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        *,
        writes: Sequence[Path] = (),
        hides: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        network: bool = False,
        properties: Sequence[str] = (),
        stdin: IO[bytes] | None = None,
    ) -> Caged:
        """Run a command in the cage.

        :param name: is in the name of its unit.
        :param directory: where it runs.
        :param writes: directories that it may write to besides the home directory.
        :param hides: what it cannot even read.
        :param network: whether it may use the network.
        """
        sys.stdout.flush()
        variables = {"LC_ALL": "C.UTF-8", "HOME": str(self.home), **(environment or {})}
        allowed = [f"ReadWritePaths={path}" for path in (self.home, *writes)]
        hidden = [f"InaccessiblePaths={path}" for path in hides]
        isolated = [] if network else ["PrivateNetwork=yes"]
        words = ["/usr/bin/env", *(f"{key}={value}" for key, value in variables.items()), *command]
        cage = [one for one in self.cage if not one.startswith(FAMILIES)]
        limits = [*NO_UNIX_SOCKETS, *allowed, *hidden, *isolated]
        wanted = [*cage, *limits, *properties, f"WorkingDirectory={directory}"]
        return self.run_caged(self.unit, f"{name}-{next(self.numbers)}", self.user, wanted, words, stdin)

    def failed(self, what: str, output: str) -> AgentError:
        """Return why something failed, by what it wrote."""
        full = is_full(self.app.root, output)
        return AgentError(Code.FAILED, f"{what}: {no_space(self.app) if full else failure_cause(output)}")


def beneath(directory: Path, relative: str) -> Path:
    """Return a directory below another one, if no link leads there.

    :param relative: its path, ``.`` for the directory itself.
    :raises AgentError: with the code ``failed`` if there is none.
    """
    path = directory
    for name in [part for part in relative.split("/") if part not in ("", ".")]:
        path = path / name
        if name == ".." or not os.path.lexists(path) or not stat.S_ISDIR(path.lstat().st_mode):
            raise refused(f"{shown(relative)} is no directory of the repository")
    return path
