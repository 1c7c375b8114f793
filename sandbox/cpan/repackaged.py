"""Distributions made of Debian's binary packages, for those whose source an archive does not have.

Only of pure Perl. They install the same files; tests and documentation of the distribution are missing.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import run

# The homepage that Debian records for what comes from CPAN.
_RELEASE = re.compile(r"/(?:release|dist)/([\w-]+)")
_MAKEFILE = """\
use strict;
use warnings;

use ExtUtils::MakeMaker;
use JSON::PP;

open my $file, '<', 'META.json' or die "META.json: $!";
my $meta = JSON::PP->new->decode(do { local $/; <$file> });

WriteMakefile(
    NAME      => $meta->{name} =~ s/-/::/gr,
    VERSION   => $meta->{version},
    PREREQ_PM => $meta->{prereqs}{runtime}{requires},
    EXE_FILES => [glob 'bin/*'],
);
"""


@dataclass(frozen=True)
class Package:
    """A binary package.

    :param file: the ``.deb``.
    :param name: of the distribution.
    :param version: upstream's.
    :param depends: names of the packages that it needs.
    """

    file: Path
    name: str
    version: str
    depends: tuple[str, ...]

    @classmethod
    def of(cls, file: Path) -> Package | None:
        """Read a package's description; ``None`` if it does not come from CPAN."""
        fields = {}
        for line in run(["dpkg-deb", "--field", str(file), "Homepage", "Version", "Depends"]).splitlines():
            key, _, value = line.partition(":")
            fields[key] = value.strip()
        release = _RELEASE.search(fields.get("Homepage", ""))
        if release is None:
            return None
        # Of 1:0.4016+dfsg-2 upstream's part is 0.4016.
        version = fields["Version"].partition(":")[2] or fields["Version"]
        upstream = re.split(r"[-+~]", version)[0]
        depends = tuple(
            part.split()[0] for part in re.split(r"[,|]", fields.get("Depends", "")) if part.strip()
        )
        return cls(file, release[1], upstream, depends)

    def unpack(self, place: Path, module_of: Callable[[str], str | None]) -> bool:
        """Write the distribution's files to a directory; ``False`` if it is not pure Perl.

        :param place: the directory; it is made.
        :param module_of: the module of another Debian package, if that is on the mirror.
        """
        root = place.with_name(f"{place.name}.package")
        run(["dpkg-deb", "--extract", str(self.file), str(root)])
        modules = root / "usr/share/perl5"
        if not modules.is_dir() or list(root.glob("usr/lib/*/perl5")):
            return False
        new = place / f"{self.name}-{self.version}"
        shutil.copytree(modules, new / "lib")
        if (root / "usr/bin").is_dir():
            shutil.copytree(root / "usr/bin", new / "bin")
        requires = {module: "0" for each in self.depends if (module := module_of(each))}
        meta = {
            "name": self.name,
            "version": self.version,
            "abstract": "Made of a binary package",
            "author": ["Debian"],
            "license": ["unknown"],
            "dynamic_config": 0,
            "generated_by": "the sandbox",
            "meta-spec": {"version": "2"},
            "release_status": "stable",
            "prereqs": {"runtime": {"requires": requires}},
        }
        (new / "META.json").write_text(json.dumps(meta, indent=2) + "\n")
        (new / "Makefile.PL").write_text(_MAKEFILE)
        return True


def pack(place: Path, tarball: Path) -> None:
    """Pack what :meth:`Package.unpack` has written."""
    with tarfile.open(tarball, "w:gz") as archive:
        for each in sorted(place.iterdir()):
            archive.add(each, each.name)
