"""A small release in a directory, as a build leaves it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.droplet.manifest import PLACE, Manifest, scan

APP, REVISION, COMMITTED = "app-shop", "a" * 40, 1_700_000_000
LONG = "lib/" + "x" * 150 + "/" + "y" * 150 + ".pm"


@dataclass(frozen=True)
class BuiltRelease:
    """A release with its manifest."""

    directory: Path
    manifest: Manifest

    @property
    def digest(self) -> str:
        return self.manifest.digest


def build_release(directory: Path) -> BuiltRelease:
    """Make one: files, an empty directory, a script, links of all kinds, long names and others than ASCII."""
    files = {
        "app.psgi": b"sub { }\n",
        "REVISION": f"{REVISION}\n".encode(),
        "bin/run": b"#!/bin/sh\n",
        "empty": b"",
        "größe/naïve 文.txt": "ü".encode(),
        LONG: b"one;\n",
        "share/large": bytes(range(256)) * 5000,
        ".bluegreen/revision.psgi": b"1;\n",
    }
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (directory / "tmp").mkdir()
    links = {
        "current-lib": "lib",
        "share/up": "../app.psgi",
        "dangling": "nowhere/at/all",
        "log": f"/var/lib/{APP}/shared/log",
        "config.yaml": f"/etc/{APP}/config.yaml",
        "share/long": "z" * 180,
    }
    for name, target in links.items():
        (directory / name).symlink_to(target)
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            is_open = path.is_dir() or path.name == "run"
            path.chmod(0o755 if is_open else 0o644)
    manifest = Manifest(APP, REVISION, COMMITTED, "5.36.0 x86_64\nglibc 2.36", scan(directory))
    (directory / PLACE).write_bytes(manifest.data)
    (directory / PLACE).chmod(0o644)
    return BuiltRelease(directory, manifest)
