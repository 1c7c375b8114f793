"""A CPAN mirror as plain files: an index of modules, and the distributions that it leads to."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "sources"
INDEX = "modules/02packages.details.txt.gz"
AUTHOR = "S/SA/SANDBOX"
# The time of every file in a tarball: the same source makes the same tarball.
PACKED = 1_767_600_000

INDEX_HEADER = """\
File:         02packages.details.txt
Description:  Package names found in directory $CPAN/authors/id/
Columns:      package name, version, path
Intended-For: Automated fetch routines, namespace documentation.
Written-By:   the sandbox
Line-Count:   {lines}
Last-Updated: Mon, 05 Jan 2026 08:00:00 GMT

"""


@dataclass(frozen=True)
class Distribution:
    """One of the distributions that were made for tests, each with one module.

    :param name: of its directory in ``sources``, and of the module with ``::`` for ``-``.
    :param versions: the last one is in the index; all of them are on the mirror.
    :param requires: the least version of each module that it needs.
    """

    name: str
    versions: tuple[str, ...] = ("0.01",)
    requires: Mapping[str, str] | None = None

    @property
    def module(self) -> str:
        """The name of its module."""
        return self.name.replace("-", "::")

    def path(self, version: str) -> str:
        """Return the path of its tarball below ``authors/id``."""
        return f"{AUTHOR}/{self.name}-{version}.tar.gz"


DISTRIBUTIONS = (
    Distribution("Sandbox-Greeting", ("0.01", "0.02")),
    # XS
    Distribution("Sandbox-Counter"),
    Distribution("Sandbox-Menu", requires={"Sandbox::Counter": "0", "Sandbox::Greeting": "0.02"}),
    # XS that does not compile without libpq-fe.h, which Debian has in libpq-dev
    Distribution("Sandbox-Postgres"),
    # Its Makefile.PL does not end.
    Distribution("Sandbox-Hanging"),
    Distribution("Sandbox-FailingTest"),
)


def build(directory: Path, stock: Path | None = None) -> None:
    """Write a mirror.

    :param directory: it must not exist; ``file://`` and its path is the mirror's address.
    :param stock: more distributions, see :mod:`sandbox.cpan.stock`.
    """
    new = directory.with_name(f"{directory.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    lines = []
    for distribution in DISTRIBUTIONS:
        for version in distribution.versions:
            file = new / "authors/id" / distribution.path(version)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(_tarball(distribution, version))
        latest = distribution.versions[-1]
        lines.append(index_line(distribution.module, latest, distribution.path(latest)))
    if stock is not None:
        shutil.copytree(
            stock / "authors", new / "authors", copy_function=_link, dirs_exist_ok=True, symlinks=True
        )
        lines += (stock / "packages").read_text().splitlines()
    # Carton looks a module up by halves, without regard to case.
    lines.sort(key=lambda line: line.split()[0].lower())
    index = INDEX_HEADER.format(lines=len(lines)) + "\n".join(lines) + "\n"
    (new / INDEX).parent.mkdir()
    (new / INDEX).write_bytes(gzip.compress(index.encode(), mtime=0))
    new.rename(directory)


def index_line(module: str, version: str, path: str) -> str:
    """Return a line of the index.

    :param version: ``undef`` if the module has none.
    :param path: of the tarball, below ``authors/id``.
    """
    return f"{module:<40} {version:>12}  {path}"


def _tarball(distribution: Distribution, version: str) -> bytes:
    source = SOURCES / distribution.name
    files = {
        str(path.relative_to(source)): path.read_text().replace("@VERSION@", version)
        for path in source.rglob("*")
        if path.is_file()
    }
    files["META.json"] = json.dumps(_meta(distribution, version), indent=2) + "\n"
    files["MANIFEST"] = "".join(f"{path}\n" for path in sorted([*files, "MANIFEST"]))
    packed = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=packed, mtime=PACKED) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path, text in sorted(files.items()):
            entry = tarfile.TarInfo(f"{distribution.name}-{version}/{path}")
            entry.size = len(text.encode())
            entry.mtime = PACKED
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


def _meta(distribution: Distribution, version: str) -> dict[str, object]:
    file = f"lib/{distribution.module.replace('::', '/')}.pm"
    return {
        "name": distribution.name,
        "version": version,
        "abstract": "A distribution for tests",
        "author": ["Sandbox <sandbox@example.com>"],
        "license": ["perl_5"],
        "dynamic_config": 0,
        "generated_by": "the sandbox",
        "meta-spec": {"version": "2"},
        "release_status": "stable",
        "provides": {distribution.module: {"file": file, "version": version}},
        "prereqs": {
            "configure": {"requires": {"ExtUtils::MakeMaker": "0"}},
            "runtime": {"requires": dict(distribution.requires or {})},
        },
    }


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
