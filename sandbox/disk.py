"""A machine's disk: a size-limited layer over the shared read-only image."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from sandbox.processes import run

# Mebibytes that a machine can write for each gigabyte of a droplet's disk; most tests order small sizes.
MEBIBYTES_PER_GIGABYTE = 20
SMALLEST_MEBIBYTES = 512

# The number of files that a machine can create: even an empty one takes about 1 KB of memory.
INODES = 100_000
# What /proc/mounts calls the source of a machine's file systems.
SOURCE = "bluegreen-sandbox"


class Disk:
    """The layer of one machine, mounted under its directory.

    :param directory: the machine's directory; the mounted file system is ``root`` in it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self._layer = directory / "disk"

    def mount(self, image: Path, mebibytes: int) -> None:
        """Mount an empty layer over an image.

        :param mebibytes: how much the machine can write before its disk is full.
        """
        self.root.mkdir(parents=True)
        self._layer.mkdir()
        run(
            [
                "mount",
                "-t",
                "tmpfs",
                "-o",
                f"size={mebibytes}m,nr_inodes={INODES},mode=755",
                SOURCE,
                str(self._layer),
            ]
        )
        for name in ("upper", "work"):
            (self._layer / name).mkdir()
        options = f"lowerdir={image},upperdir={self._layer}/upper,workdir={self._layer}/work"
        run(["mount", "-t", "overlay", "-o", options, SOURCE, str(self.root)])

    def fill(self) -> int:
        """Take all free space, outside the machine's view of its disk; returns the bytes taken."""
        taken = 0
        with self._filler.open("ab") as filler:
            size = self._free_bytes()
            while size:
                try:
                    os.posix_fallocate(filler.fileno(), filler.tell(), size)
                except OSError as error:
                    # The machine is writing at the same time.
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
                else:
                    taken += size
                    filler.seek(0, os.SEEK_END)
                    size = self._free_bytes()
        return taken

    def _free_bytes(self) -> int:
        free = os.statvfs(self._layer)
        return free.f_bavail * free.f_frsize

    def free(self) -> None:
        """Release the space that :meth:`fill` took."""
        self._filler.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount the disk and remove the machine's directory."""
        unmount_below(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _filler(self) -> Path:
        return self._layer / "filler"


def unmount_below(directory: Path) -> None:
    """Unmount every mount point in a directory, the innermost first."""
    prefix = f"{directory.resolve()}/"
    for mount in reversed([mount for mount, _ in _mounts() if mount.startswith(prefix)]):
        with contextlib.suppress(OSError):
            run(["umount", "--lazy", mount], check=False)


def mounted_sandboxes() -> set[Path]:
    """Return the directories of all sandboxes that have a machine's disk mounted."""
    # <sandbox>/machines/<name>/root
    return {Path(mount).parents[2] for mount, source in _mounts() if source == SOURCE}


def _mounts() -> list[tuple[str, str]]:
    """Mount points and their sources, in the order in which they were mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [(_unescape(line.split()[4]), line.rpartition(" - ")[2].split()[1]) for line in lines]


def _unescape(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path
