"""Real distributions for the CPAN mirror, fetched once: upstream's tarballs of Debian's source packages."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import hashlib
import json
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from sandbox.cpan.mirror import index_line
from sandbox.cpan.repackaged import Package, pack
from sandbox.errors import SandboxError
from sandbox.image import CACHE, SUITES

NAMES = (Path(__file__).parent / "debian-sources").read_text().split()
# Lists the modules of unpacked distributions.
PROVIDES = Path(__file__).parent / "provides.pl"
AUTHOR = "D/DE/DEBIAN"
# Fields of the places that the machine has its packages from.
SOURCE_FIELDS = "$(REPO_URI) $(RELEASE) $(COMPONENT)"

COMPRESSED = {".xz": lzma, ".bz2": bz2}


def directory() -> Path:
    """Return where the distributions are, or will be once they have been fetched."""
    recipe = json.dumps([NAMES, PROVIDES.read_text(), Path(__file__).with_name("repackaged.py").read_text()])
    return CACHE / f"cpan-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"


def present() -> Path | None:
    """Return the directory of the distributions, if they have been fetched."""
    return directory() if directory().is_dir() else None


def ensure(say: Callable[[str], None] = print) -> Path:
    """Return the directory of the distributions; fetch them first if that has not been done.

    It holds ``authors/id/…`` and ``packages``, the lines of the index. What this machine's packages come from
    decides which versions these are.

    :raises SandboxError: apt cannot fetch them, or only a few of them.
    """
    made = directory()
    if made.is_dir():
        return made
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        raise SandboxError("the sandbox needs root to fetch distributions") from None
    with made.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_dir():
            say(f"Fetching {len(NAMES)} of Debian's source packages for the CPAN mirror, once: some minutes")
            _build(made, say)
    return made


def _build(made: Path, say: Callable[[str], None]) -> None:
    # One that was killed has left its files there.
    work = made.with_suffix(".building")
    shutil.rmtree(work, ignore_errors=True)
    fetched, new = work / "fetched", work / "new"
    fetched.mkdir(parents=True)
    _fetch(fetched)
    missing = [name for name in _missing(fetched) if not any(fetched.glob(f"{name}_*.deb"))]
    if len(missing) > len(NAMES) / 2:
        raise SandboxError(f"apt cannot fetch {len(missing)} of {len(NAMES)} packages: {missing[0]} …")
    if missing:
        say(f"Left out, because apt cannot fetch them: {' '.join(missing)}")
    _add(new, _unpack(fetched, work / "unpacked"))
    new.rename(made)
    shutil.rmtree(work)


def _fetch(target: Path) -> None:
    """Let apt download the upstream tarballs, with lists of its own and this machine's configuration."""
    state = target / "apt"
    (state / "lists/partial").mkdir(parents=True)
    listed = _apt("apt-get", "indextargets", "--format", SOURCE_FIELDS, "Created-By: Packages")
    places = _with_other_suites({tuple(line.split()) for line in listed.splitlines()})
    lines = sorted(f"{kind} {' '.join(place)}\n" for place in places for kind in ("deb", "deb-src"))
    (state / "sources.list").write_text("".join(lines))
    options = {
        "Dir::State::Lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "-",
        # Another user than root could not write here.
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    # Some of a machine's sources may have no source packages, and an archive may lack some: others have them.
    _apt("apt-get", *words, "update", check=False)
    versions = _versions(_apt("apt-cache", *words, "showsrc", "--only-source", *NAMES, check=False))
    for attempt in range(max(map(len, versions.values()), default=0)):
        missing = [name for name in _missing(target) if len(versions.get(name, ())) > attempt]
        sources = [f"{name}={versions[name][attempt]}" for name in missing]
        _apt("apt-get", *words, "source", "--download-only", "--tar-only", *sources, cwd=target, check=False)
    # One unknown name would keep apt from fetching any of them.
    known = set(_apt("apt-cache", *words, "pkgnames").split())
    binaries = [name for name in _missing(target) if name in known]
    if binaries:
        _apt("apt-get", *words, "download", *binaries, cwd=target, check=False)


def _versions(shown: str) -> dict[str, list[str]]:
    """Return the versions of each source package that an archive lists, this machine's release first.

    :param shown: what ``apt-cache showsrc`` prints: fields, with an empty line after each version.
    """
    versions: dict[str, list[str]] = {}
    for stanza in shown.split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in stanza.splitlines() if not line.startswith(" "))
        if "Package" in fields:
            versions.setdefault(fields["Package"], []).append(fields["Version"])
    return versions


def _with_other_suites(places: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Add Debian's other releases to the places that a machine's packages come from.

    :param places: address, suite and component of each.
    """
    return places | {
        (uri, suite.replace(known, other), component)
        for uri, suite, component in places
        for known in SUITES
        if known in suite
        for other in SUITES
    }


def _missing(target: Path) -> list[str]:
    return [name for name in NAMES if not any(target.glob(f"{name}_*.orig.tar.*"))]


def _apt(*command: str, cwd: Path | None = None, check: bool = True) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    except FileNotFoundError:
        raise SandboxError("apt-get is not installed: the distributions come from Debian") from None
    if check and done.returncode:
        raise SandboxError(f"`{' '.join(command[:2])}` failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.stdout


def _unpack(fetched: Path, unpacked: Path) -> dict[Path, Path]:
    """Unpack what has been fetched; return the tarball of each distribution by its directory.

    A binary package becomes a tarball first.
    """
    unpacked.mkdir()
    places = {}
    modules: dict[str, str] = {}
    for tarball in sorted(fetched.glob("*.orig.tar.*")):
        source = tarball.name.partition("_")[0]
        place = unpacked / source
        with tarfile.open(tarball) as archive:
            archive.extractall(place, filter="data")
        name = _name_of(place)
        if name is not None:
            places[place] = tarball
            *_, last = words = name.split("-")[:-1]
            # Not every distribution is called like one of its modules: libwww-perl is not.
            if any(place.rglob(f"{last}.pm")):
                modules[source] = "::".join(words)
    packages = {file.name.partition("_")[0]: Package.of(file) for file in sorted(fetched.glob("*.deb"))}
    for source, package in packages.items():
        if package is not None:
            modules[source] = package.name.replace("-", "::")
    for source, package in packages.items():
        place = unpacked / source
        if package is not None and package.unpack(place, modules.get):
            places[place] = fetched / f"{source}.made.tar.gz"
            pack(place, places[place])
    return places


def _add(new: Path, places: dict[Path, Path]) -> None:
    """Write the distributions and the lines of their index.

    :param places: each distribution's tarball, by the directory that it is unpacked in.
    """
    paths: dict[str, str] = {}
    for place, tarball in places.items():
        paths[str(place)] = path = f"{AUTHOR}/{_name_of(place)}.tar.gz"
        file = new / "authors/id" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        _compress(tarball, file)
    listed = subprocess.run(["perl", str(PROVIDES), *paths], capture_output=True, check=False)
    if listed.returncode:
        raise SandboxError(f"the modules cannot be listed: {listed.stderr.decode(errors='replace').strip()}")
    lines = {}
    for place_name, modules in sorted(json.loads(listed.stdout).items()):
        for module, version in modules.items():
            lines[module] = index_line(module, version or "undef", paths[place_name])
    (new / "packages").write_text("".join(f"{line}\n" for line in lines.values()))


def _name_of(place: Path) -> str | None:
    """Return name and version of an unpacked distribution; ``None`` if it has no metadata."""
    for file in (*place.glob("*/META.json"), *place.glob("*/META.yml")):
        text = file.read_text(errors="replace")
        try:
            meta: Any = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
            return f"{meta['name']}-{meta['version']}"
        except (ValueError, KeyError, TypeError, yaml.YAMLError):
            continue
    return None


def _compress(tarball: Path, file: Path) -> None:
    """Copy a tarball, as ``.tar.gz`` whatever it was compressed with.

    :raises SandboxError: if it is not known how.
    """
    if tarball.suffix == ".gz":
        shutil.copyfile(tarball, file)
        return
    if tarball.suffix not in COMPRESSED:
        raise SandboxError(f"{tarball.name} is compressed in an unknown way")
    with (
        COMPRESSED[tarball.suffix].open(tarball) as content,
        file.open("wb") as target,
        gzip.GzipFile("", "wb", fileobj=target, mtime=0) as compressed,
    ):
        shutil.copyfileobj(content, compressed)
