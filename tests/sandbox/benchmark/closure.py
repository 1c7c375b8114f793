"""What an app's modules need of a CPAN mirror, as the snapshot that Carton installs from."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sandbox.cpan.mirror import INDEX

# Of META's phases, those that an installation without tests needs.
PHASES = ("configure", "build", "runtime")
# Their names in the first edition of META.
FIRST_EDITION = ("configure_requires", "build_requires", "requires")


@dataclass(frozen=True)
class Distribution:
    """A distribution on a mirror.

    :param path: of its tarball, below ``authors/id``.
    :param provides: the version of each of its modules; ``undef`` if a module has none.
    :param requires: the modules that it needs.
    """

    path: str
    provides: dict[str, str]
    requires: frozenset[str]

    @property
    def name(self) -> str:
        """Name and version."""
        return Path(self.path).name.removesuffix(".tar.gz")


def closure(mirror: Path, modules: Iterable[str]) -> list[Distribution]:
    """Return the distributions that modules need, by name.

    What comes with perl is among them if the mirror has it, too. What the mirror lacks is not, because it
    comes with perl.
    """
    index = _index(mirror)
    wanted, found = list(modules), dict[str, Distribution]()
    while wanted:
        _, path = index.get(wanted.pop(), ("", ""))
        if path and path not in found:
            provides = {module: version for module, (version, place) in index.items() if place == path}
            requires = frozenset(_requires(mirror / "authors/id" / path)) - {"perl"}
            found[path] = Distribution(path, provides, requires)
            wanted += requires
    return sorted(found.values(), key=lambda each: each.name)


def snapshot(distributions: Iterable[Distribution]) -> str:
    """Return the text of ``cpanfile.snapshot``."""
    lines = ["# carton snapshot format: version 1.0", "DISTRIBUTIONS"]
    for each in distributions:
        lines += [f"  {each.name}", f"    pathname: {each.path}", "    provides:"]
        lines += [f"      {module} {version}" for module, version in sorted(each.provides.items())]
        lines += ["    requirements:", *(f"      {module} 0" for module in sorted(each.requires))]
    return "".join(f"{line}\n" for line in lines)


def _index(mirror: Path) -> dict[str, tuple[str, str]]:
    """Return version and path by module."""
    lines = gzip.decompress((mirror / INDEX).read_bytes()).decode().partition("\n\n")[2].splitlines()
    return {module: (version, path) for module, version, path in map(str.split, lines)}


def _requires(tarball: Path) -> set[str]:
    meta = _meta(tarball)
    if "prereqs" in meta:
        phases = [meta["prereqs"].get(phase, {}).get("requires", {}) for phase in PHASES]
    else:
        phases = [meta.get(name) or {} for name in FIRST_EDITION]
    return {module for phase in phases for module in phase}


def _meta(tarball: Path) -> dict[str, Any]:
    """Return the content of META.json, or else of META.yml."""
    with tarfile.open(tarball) as archive:
        names = [name for name in archive.getnames() if name.count("/") == 1]
        for last, read in (("META.json", json.loads), ("META.yml", yaml.safe_load)):
            for name in names:
                if name.endswith(f"/{last}") and (file := archive.extractfile(name)):
                    meta: dict[str, Any] = read(file.read())
                    return meta
    return {}
