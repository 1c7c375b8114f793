"""Builds on this machine, without a cage: commands run as this user, and see the agent's paths elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pwd
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.artifact import unpack
from agent.droplet.building import Build
from agent.droplet.caged import Caged
from agent.paths import Paths
from agent.protocol import Json, Verb

APP, UNIT, REVISION, COMMITTED = "app-shop", "bluegreen-app-shop-build-aaaaaaaaaaaa", "a" * 40, 1_700_000_000


@dataclass
class Uncaged:
    """Runs what is to be caged as it is, and remembers the properties that its unit would have."""

    numbers: set[str] = field(default_factory=set)
    units: dict[str, list[str]] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)

    def __call__(
        self,
        unit: str,
        name: str,
        user: str,
        properties: Sequence[str],
        command: Sequence[str],
        stdin: IO[bytes] | None = None,
    ) -> Caged:
        name, _, number = name.rpartition("-")
        assert number not in self.numbers
        self.numbers.add(number)
        self.units[name], self.commands[name] = list(properties), list(command)
        pairs = [one.partition("=") for one in properties]
        [directory] = [value for key, _, value in pairs if key == "WorkingDirectory"]
        environment = dict(os.environ)
        for key, _, value in pairs:
            if key == "EnvironmentFile":
                for word in shlex.split(Path(value).read_text()):
                    variable, _, text = word.partition("=")
                    environment[variable] = text
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output = done.stdout.decode(errors="replace")
        sys.stdout.write(output)
        return Caged(done.returncode, output)


def make_builder(root: Path, patch: pytest.MonkeyPatch) -> Builder:
    """Return a droplet below a directory."""
    patch.setenv("BLUEGREEN_ROOT", str(root))
    known = pwd.getpwnam
    patch.setattr(pwd, "getpwnam", lambda name: pwd.getpwuid(os.geteuid()) if name == APP else known(name))
    programs = root / "programs"
    programs.mkdir()
    # The disk of this machine is not for a test to wait for.
    (programs / "sync").write_text("#!/bin/sh\n")
    # No test makes a user of this machine.
    (programs / "useradd").write_text("#!/bin/sh\nexit 1\n")
    for name in ("sync", "useradd"):
        (programs / name).chmod(0o755)
    patch.setenv("PATH", str(programs), prepend=os.pathsep)
    app = AppPaths(Paths(), APP)
    app.root.mkdir(parents=True)
    return Builder(app)


@dataclass
class Builder:
    """A droplet on which releases are built."""

    app: AppPaths
    uncaged: Uncaged = field(default_factory=Uncaged)

    def send(self, files: Mapping[str, str | bytes], is_packed: bool = True) -> Json:
        """Put a source into ``incoming``. A name that ends with ``*`` is an executable, with ``@`` a link."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for name, text in files.items():
                content = text.encode() if isinstance(text, str) else text
                member = tarfile.TarInfo(name.rstrip("*@"))
                member.mode, member.mtime = 0o755 if name.endswith("*") else 0o644, COMMITTED
                if name.endswith("@"):
                    member.type, member.linkname = tarfile.SYMTYPE, content.decode()
                else:
                    member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        packed = gzip.compress(data.getvalue(), mtime=0) if is_packed else data.getvalue()
        self.app.incoming.mkdir(parents=True, exist_ok=True)
        (self.app.incoming / "source.tar.gz").write_bytes(packed)
        return {"name": "source.tar.gz", "sha256": hashlib.sha256(packed).hexdigest(), "size": len(packed)}

    def build(self, source: Json, **changes: Any) -> Json:
        """Build a release; ``dependencies`` are merged with their defaults."""
        for directory in (self.app.root / "cache", self.app.releases):
            directory.mkdir(parents=True, exist_ok=True)
        defaults = {"installer": "carton", "without": ["develop"], "features": [], "mirror": None}
        wanted = {**defaults, "run_tests": False, **changes.pop("dependencies", {})}
        request = {
            "app": APP,
            "unit": UNIT,
            "revision": REVISION,
            "committed": COMMITTED,
            "source": source,
            "earlier": None,
            "root": ".",
            "perl": "/usr/bin/perl",
            "packages": [],
            "dependencies": wanted,
            "credentials": None,
            "commands": [],
            "network": False,
            "links": {},
            "user": pwd.getpwuid(os.geteuid()).pw_name,
            "cage": ["NoNewPrivileges=yes"],
            **changes,
        }
        self.uncaged.numbers.clear()
        return Build.of(Call.of(Verb.BUILD), request, self.uncaged).answer()

    def unpacked(self, answer: Json, name: str = "unpacked") -> Path:
        """Unpack an artifact, and return the release's directory."""
        file = self.app.outgoing / answer["artifact"]["name"]
        data = file.read_bytes()
        assert answer["artifact"]["sha256"] == hashlib.sha256(data).hexdigest()
        assert answer["artifact"]["size"] == len(data)
        target = self.app.releases / name
        unpack(file, target, APP, answer["digest"])
        return target

    def leftovers(self) -> list[str]:
        """Return what a build has left besides its artifact and its cache."""
        kept = {"cache", "incoming", "outgoing", "releases"}
        return sorted(path.name for path in self.app.root.iterdir() if path.name not in kept)
