"""The read-only disk image that machines start from, made once with mmdebstrap from Debian's packages."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import SandboxError

CACHE = Path("/var/cache/bluegreen-sandbox")
SUITES = ("bookworm", "trixie")
GUEST = Path(__file__).parent / "guest"
PACKAGES = (GUEST / "packages").read_text().split()
# Removes what a machine must not inherit; its argument is the image's root.
PREPARE = GUEST / "prepare"


def directory(suite: str) -> Path:
    """Return where the image of a suite is, or will be once it has been built."""
    if suite not in SUITES:
        raise SandboxError(f"no image {suite!r}: there are {', '.join(SUITES)}")
    recipe = json.dumps([suite, PACKAGES, PREPARE.read_text()])
    return CACHE / hashlib.sha256(recipe.encode()).hexdigest()[:16] / "root"


def ensure(suite: str = "bookworm", say: Callable[[str], None] = print) -> Path:
    """Return the directory of a suite's image; build it first if there is none yet (about 40 s, 570 MB).

    :raises SandboxError: not root, or mmdebstrap is missing or failed.
    """
    root = directory(suite)
    if root.is_dir():
        return root
    if os.geteuid() != 0:
        raise SandboxError("the sandbox needs root to make and start machines")
    if not shutil.which("mmdebstrap"):
        raise SandboxError("mmdebstrap is not installed: run scripts/install-system-packages as root")
    with _only_one(root.parent):
        if not root.is_dir():
            say(f"Making the machines' image of Debian {suite}, once: about 40 s")
            _build(suite, root)
    return root


def _build(suite: str, root: Path) -> None:
    half_built = root.with_name("building")
    if half_built.exists():
        shutil.rmtree(half_built)
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--quiet",
        f"--include={','.join(PACKAGES)}",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--customize-hook={PREPARE}",
        suite,
        str(half_built),
    ]
    log = root.with_name("build.log")
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise SandboxError(f"mmdebstrap could not make the image ({last}); all of it: {log}")
    half_built.rename(root)


@contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
