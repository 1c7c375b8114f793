"""A CPAN of a few distributions, some of which cannot be built."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

AUTHOR = "L/LO/LOCAL"
XS = """#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
{include}
MODULE = {name} PACKAGE = {name}
int
answer()
  CODE:
    RETVAL = 42;
  OUTPUT:
    RETVAL
"""


class SmallCpan:
    """Distributions in a directory that a mirror serves, with their index."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.index = directory, dict[str, str]()
        (directory / "modules").mkdir(parents=True)

    def add(self, name: str, requires: Mapping[str, str] | None = None, **files: str) -> str:
        """Add a distribution of one module, and return its path below ``authors/id``.

        :param files: contents by path, with ``__`` for a slash and ``_`` for a dot.
        """
        path = f"lib/{name.replace('::', '/')}.pm"
        wanted = ", ".join(f"'{one}' => '{version}'" for one, version in (requires or {}).items())
        others = {key.replace("__", "/").replace("_", "."): text for key, text in files.items()}
        programs = ", ".join(f"'{other}'" for other in others if other.startswith("bin/"))
        contents = {
            "Makefile.PL": "use ExtUtils::MakeMaker;\n"
            f"WriteMakefile(NAME => '{name}', VERSION_FROM => '{path}', PREREQ_PM => {{ {wanted} }}, "
            f"EXE_FILES => [{programs}]);\n",
            path: f"package {name};\nour $VERSION = '1.0';\n1;\n",
            **others,
        }
        return self._put(name, contents)

    def add_xs(self, name: str, include: str = "") -> str:
        """Add a distribution with a module in C."""
        load = f"require XSLoader;\nXSLoader::load('{name}', $VERSION);\n"
        module = f"package {name};\nour $VERSION = '1.0';\n{load}1;\n"
        path, last = f"lib/{name.replace('::', '/')}.pm", name.rpartition("::")[2]
        makefile = f"use ExtUtils::MakeMaker;\nWriteMakefile(NAME => '{name}', VERSION_FROM => '{path}');\n"
        xs = XS.format(name=name, include=include)
        return self._put(name, {"Makefile.PL": makefile, path: module, f"{last}.xs": xs})

    def _put(self, name: str, contents: dict[str, str]) -> str:
        distribution = f"{name.replace('::', '-')}-1.0"
        meta = {
            "name": name.replace("::", "-"),
            "version": "1.0",
            "abstract": "x",
            "author": ["x"],
            "license": ["perl_5"],
            "dynamic_config": 1,
            "generated_by": "x",
            "release_status": "stable",
            "meta-spec": {"version": 2},
        }
        target = self.directory / "authors/id" / AUTHOR / f"{distribution}.tar.gz"
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(target, "w:gz") as archive:
            for path, text in {"META.json": json.dumps(meta), **contents}.items():
                member = tarfile.TarInfo(f"{distribution}/{path}")
                member.size, member.mode = len(text.encode()), 0o644
                archive.addfile(member, io.BytesIO(text.encode()))
        self.index[name] = f"{AUTHOR}/{distribution}.tar.gz"
        lines = "".join(f"{one:<30} {'1.0':>8}  {path}\n" for one, path in sorted(self.index.items()))
        head = f"File: 02packages.details.txt\nLine-Count: {len(self.index)}\n\n"
        with gzip.open(self.directory / "modules/02packages.details.txt.gz", "wb") as packed:
            packed.write((head + lines).encode())
        return self.index[name]

    def snapshot(self, *names: str) -> str:
        """Return a ``cpanfile.snapshot`` of some distributions."""
        text = "# carton snapshot format: version 1.0\nDISTRIBUTIONS\n"
        for name in sorted(names):
            text += f"  {name.replace('::', '-')}-1.0\n    pathname: {self.index[name]}\n"
            text += f"    provides:\n      {name} 1.0\n    requirements:\n      ExtUtils::MakeMaker 0\n"
        return text
