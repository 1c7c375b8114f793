"""What a server gets from Debian and PyPI, for a machine that reaches neither: fetched once, served to it."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from packaging.requirements import Requirement

from demo.airflow_settings import ROOT
from sandbox import image

CACHE = ROOT / "build" / "cache" / "plain-host"
INSTALLER = ROOT / "hosting" / "systemd" / "install"
REQUIREMENTS = ROOT / "requirements-image.txt"


@contextmanager
def served(address: str) -> Iterator[str]:
    """Serve the packages until the block ends; the value is where."""
    for name, recipe, fetch in (
        ("debs", INSTALLER.read_text().partition("packages=(")[2].partition(")")[0], _fetch_debs),
        ("wheels", REQUIREMENTS.read_text(), _fetch_wheels),
    ):
        directory, stamp = CACHE / name, hashlib.sha256(recipe.encode()).hexdigest()
        if not (directory / stamp).exists():
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True)
            fetch(directory)
            (directory / stamp).touch()
    server = ThreadingHTTPServer((address, 0), functools.partial(_Quiet, directory=str(CACHE)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _fetch_debs(directory: Path) -> None:
    """Fetch what the installer names and the image lacks, with the image's sources and this machine's apt."""
    found = re.search(r"packages=\(([^)]*)\)", INSTALLER.read_text())
    assert found
    root, state = image.ensure("bookworm"), directory / "apt"
    for name in ("lists/partial", "archives/partial"):
        (state / name).mkdir(parents=True)
    options = {
        "Dir::State": state,
        "Dir::State::status": root / "var/lib/dpkg/status",
        "Dir::Cache": state,
        "Dir::Etc::sourcelist": root / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "--quiet", "--quiet", *(f"--option={name}={value}" for name, value in options.items())]
    subprocess.run([*apt, "update"], check=True)
    install = ["install", "--yes", "--no-install-recommends", "--download-only"]
    subprocess.run([*apt, *install, *found[1].split()], check=True)
    entries = []
    for deb in sorted((state / "archives").glob("*.deb")):
        # A colon, as in versions with an epoch, would be part of the address.
        file = deb.rename(directory / deb.name.replace("%3a", "."))
        control = ["dpkg-deb", "--field", str(file)]
        fields = subprocess.run(control, capture_output=True, text=True, check=True).stdout.strip()
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        entries.append(f"{fields}\nFilename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {sha256}\n")
    (directory / "Packages").write_text("\n".join(entries))
    shutil.rmtree(state)


def _fetch_wheels(directory: Path) -> None:
    """Fetch what the requirements name for the machines' interpreter, which need not be this one."""
    asked = ["chroot", str(image.ensure("bookworm")), "python3", "--version"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()[1]
    machine = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
    # The server compares hashes itself; a line with a requirement goes on with them.
    lines = [line.rstrip(" \\") for line in REQUIREMENTS.read_text().splitlines() if line[:1].isalnum()]
    wanted = [
        f"{one.name}{one.specifier}"
        for one in map(Requirement, lines)
        if one.marker is None or one.marker.evaluate(machine)
    ]
    options = [
        "-qq",
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={version}",
        f"--dest={directory}",
    ]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, *wanted], check=True)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
