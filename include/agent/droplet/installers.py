"""Installing the distributions that an app needs, into ``local/``.

Carton's own ``install`` adds mirrors by plain http that no option takes away, so cpanm does its work: with
the index that the snapshot is, and tarballs that were fetched before, where nothing of the repository runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.droplet import dependencies as sets
from agent.droplet.app_paths import AppPaths
from agent.droplet.dependencies import CARTON, SNAPSHOT, VENDORED, Needs
from agent.droplet.fetch_distributions import DAMAGED
from agent.droplet.inspection import take_over
from agent.droplet.mirrors import default_mirror
from agent.droplet.tree import read_regular, sync, walk
from agent.droplet.workspace import Workspace, beneath
from agent.protocol import AgentError, Code, Dependencies
from agent.system import digest, remove_tree

INDEX = "modules/02packages.details.txt.gz"
# Below a mirror's authors/id, as in `E/ET/ETHER/Try-Tiny-0.31.tar.gz`.
DISTRIBUTION = r"[A-Z]/[A-Z]{2}/[A-Z][A-Z0-9-]*(?:/[\w+-][\w.+-]*)+"
_PATHNAME = re.compile(rf"^ {{4}}pathname: ({DISTRIBUTION})$", re.MULTILINE | re.ASCII)
# Bytes of a snapshot, and distributions in it.
LARGEST_SNAPSHOT, MOST_DISTRIBUTIONS = 16 << 20, 5000
LARGEST_LIST = 4 << 20
# Not every version of cpanm has an exit status for each of them.
_FAILED = re.compile(
    r"^! (?:Failed to fetch|Couldn't find|Installing|Configure failed|Bailing out)", re.MULTILINE
)
LOCAL = "local"
DEBIAN_PERL = "/usr/bin/perl"
# Names of temporary directories are in debugging symbols.
STRIP = ("strip", "--strip-unneeded", "--remove-section=.note.gnu.build-id")
# The end of the distribution that failed first, and lines before it; cpanm goes on with others.
FIRST_FAILURE = "^-> FAIL (Installing (?!the dep)|Configure failed)"
LINES_BEFORE = "400"
# Bytes of the end of the log, where a cause is looked for if no distribution failed.
LOG_BYTES = 100_000
LOG_SECONDS = "20"
# Perl goes through hashes in an order of chance, which would be seen in what is installed.
_SAME_ORDER = {"PERL_HASH_SEED": "0", "PERL_PERTURB_KEYS": "0"}


def kept_tarballs(app: AppPaths, url: str) -> Path:
    """Return the directory of the tarballs that are kept of a mirror; what another one has may differ."""
    return app.root / "cache" / sets.DISTRIBUTIONS / digest(url.encode())[:16]


@dataclass(frozen=True)
class Installer:
    """Installs what an app needs.

    :param credentials: ``login`` and ``password`` for the mirror, or None; the repository never sees them.
    :param perl: the path of the perl that the app runs with.
    :param root: the app's directory in the repository.
    :param committed: the commit's date.
    :param network: whether the network may be used where it is not needed for fetching.
    """

    workspace: Workspace
    settings: Dependencies
    credentials: dict[str, str] | None
    needs: Needs
    perl: str
    root: str
    committed: int
    network: bool

    @property
    def directory(self) -> Path:
        """Where cpanm runs."""
        return beneath(self.workspace.dependencies, self.root if self.needs.is_whole else ".")

    def install(self) -> Path:
        """Install the distributions, and return their directory, which is root's then.

        :raises AgentError: with the code ``failed`` and the cause.
        """
        self._copy()
        mirrors = self._mirrors()
        self._write_helpers()
        self._run_cpanm(mirrors)
        installed = self._taken_over()
        if self._asks_mirror:
            self._keep_tarballs()
        return installed

    @property
    def _is_carton(self) -> bool:
        return self.settings["installer"] == CARTON

    @property
    def _asks_mirror(self) -> bool:
        """Whether cpanm itself fetches tarballs, because nobody knows before which ones it needs."""
        return not self._is_carton and not self.needs.is_vendored

    @property
    def _not_in_key(self) -> list[Path]:
        """What a program of the repository must not find: it is no part of what the set is named by."""
        return [self.workspace.tree, *sets.sets_in(self.workspace.app.root / "cache")]

    def _copy(self) -> None:
        space = self.workspace
        source = space.tree if self.needs.is_whole else beneath(space.tree, self.root)
        command = ["cp", "--archive", "--parents", "--", *self.needs.files, str(space.dependencies)]
        copied = space.run("copy", command, source, writes=[space.dependencies])
        if copied.status != 0:
            raise space.failed("cannot copy what the dependencies are made from", copied.output)
        # cpanm would take what is committed for installed already.
        removed = space.run("clean", ["rm", "-rf", LOCAL], self.directory, writes=[space.dependencies])
        if removed.status != 0:
            raise space.failed("cannot remove the committed local", removed.output)

    def _options(self) -> list[str]:
        """Return cpanm's words for what is wanted."""
        without, features = self.settings["without"], self.settings["features"]
        options = [
            "--quiet",
            "--mirror-only",
            "--without-develop" if "develop" in without else "--with-develop",
        ]
        if self._is_carton:
            options.append(f"--mirror-index={self._index}")
            if not features:
                options.append("--with-all-features")
        options += [f"--with-feature={name}" for name in features]
        options += [f"--without-feature={name}" for name in without if name != "develop"]
        if self._asks_mirror:
            options.append(f"--save-dists={self._saved}")
        return options if self.settings["run_tests"] else [*options, "--notest"]

    @property
    def _index(self) -> Path:
        return self.workspace.home / "index"

    @property
    def _saved(self) -> Path:
        return self.workspace.home / "saved"

    def _mirrors(self) -> list[str]:
        """Return the mirrors that cpanm asks, in this order, and fetch what can be fetched before."""
        if self.needs.is_vendored:
            return [f"file://{self.directory / VENDORED}"]
        kept = self._kept
        if self._is_carton:
            self._fetch(self._distributions())
        elif self.credentials is not None:
            raise AgentError(
                Code.FAILED,
                "cpanm runs the repository's code while it asks the mirror, so it is not given the password: "
                "use carton",
            )
        else:
            self._fetch([INDEX], self._known())
        if self._asks_mirror and self._url.startswith("https:") and not shutil.which("wget"):
            # Perl's own client does not look at certificates in all versions.
            raise AgentError(
                Code.FAILED, "wget is not installed on this droplet; cpanm asks its mirror with it"
            )
        return [f"file://{kept}", *([self._url] if self._asks_mirror else [])]

    @cached_property
    def _url(self) -> str:
        """The URL of the mirror."""
        return self.settings["mirror"] or self._default_mirror()

    def _default_mirror(self) -> str:
        def run(*words: str) -> tuple[int, str]:
            done = self.workspace.run("mirror", words, Path("/"))
            return done.status, done.output

        url = default_mirror(run)
        if not url:
            raise AgentError(Code.FAILED, "Carton has no mirror by default: set dependencies.mirror")
        return url

    @property
    def _kept(self) -> Path:
        """The directory of the tarballs that are kept of the mirror; it is made here."""
        path = kept_tarballs(self.workspace.app, self._url)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def _distributions(self) -> list[str]:
        """Return the paths of a snapshot's distributions on a mirror."""
        try:
            text = read_regular(self.directory / SNAPSHOT, LARGEST_SNAPSHOT).decode(errors="replace")
        except OSError:
            raise AgentError(Code.FAILED, f"{SNAPSHOT} is no file: commit it, not a link to it") from None
        found = sorted(set(_PATHNAME.findall(text)))
        if len(found) > MOST_DISTRIBUTIONS:
            raise AgentError(Code.FAILED, f"{SNAPSHOT} has more than {MOST_DISTRIBUTIONS} distributions")
        return [f"authors/id/{path}" for path in found if ".." not in path]

    def _known(self) -> list[str]:
        """Return the paths of all tarballs that are kept of the mirror."""
        return [path for path, about in walk(self._kept) if path != INDEX and stat.S_ISREG(about.st_mode)]

    def _fetch(self, paths: Sequence[str], known: Sequence[str] = ()) -> None:
        """Fetch what is not kept yet, as the build user, but where nothing of the repository runs.

        What is kept and damaged is fetched anew, or is dropped if the mirror does not have it any more.

        :param known: what is kept, and may be used besides ``paths``.
        :raises AgentError: with the code ``failed`` if the mirror cannot be asked.
        """
        space, kept = self.workspace, self._kept
        used = {path for path in paths if path != INDEX and (kept / path).is_file()}
        for path in used:
            os.utime(kept / path)
        wanted, known = [path for path in paths if path not in used], sorted(used.union(known))
        if wanted:
            print(f"fetching {len(wanted)} files from the mirror", flush=True)
        fetched = space.path / "fetched"
        remove_tree(fetched)
        space.give(fetched)
        request = {
            "mirror": self._url,
            "credentials": self.credentials,
            "paths": wanted,
            "directory": str(fetched),
            "kept": str(kept),
            "known": known,
        }
        command = [sys.executable, "-I", "-B", str(space.program("fetch_distributions.py"))]
        # In memory, because a disk is no place for a password.
        with os.fdopen(os.memfd_create("request"), "w+b") as stdin:
            stdin.write(json.dumps(request).encode())
            stdin.seek(0)
            done = space.run("fetch", command, fetched, writes=[fetched], network=True, stdin=stdin)
        if done.status != 0:
            raise space.failed("cannot install the dependencies", done.output)
        take_over(fetched)
        damaged = _damaged(fetched).intersection(known)
        sync(fetched)
        for path in [*wanted, *damaged]:
            if (fetched / path).is_file():
                (kept / path).parent.mkdir(parents=True, exist_ok=True)
                (fetched / path).replace(kept / path)
            elif path in damaged:
                (kept / path).unlink()

    def _write_helpers(self) -> None:
        """Write the files that cpanm finds modules and requirements in, as the build user."""
        space = self.workspace
        if self._is_carton:
            command = [DEBIAN_PERL, str(space.program("snapshot_index.pl")), str(self._index)]
        elif self.needs.meta:
            features = self.settings["features"]
            command = [DEBIAN_PERL, str(space.program("meta_cpanfile.pl")), self.needs.meta, *features]
        else:
            return
        done = space.run(
            "helper", command, self.directory, writes=[space.dependencies], hides=self._not_in_key
        )
        if done.status != 0:
            name = SNAPSHOT if self._is_carton else self.needs.meta
            raise space.failed(f"cannot read {name}", done.output)

    def _run_cpanm(self, mirrors: Sequence[str]) -> None:
        space, local = self.workspace, self.directory / LOCAL
        asked = [f"--mirror={mirror}" for mirror in mirrors]
        environment = {
            **_SAME_ORDER,
            "PERL_CPANM_HOME": str(space.home / ".cpanm"),
            "SOURCE_DATE_EPOCH": str(self.committed),
        }
        done = space.run(
            "dependencies",
            [self.perl, cpanm_of(self.perl), *self._options(), *asked, f"-L{local}", "--installdeps", "."],
            self.directory,
            writes=[space.dependencies],
            hides=self._not_in_key,
            environment=environment,
            network=self._asks_mirror or self.network,
        )
        if done.status != 0 or _FAILED.search(done.output):
            raise space.failed("cannot install the dependencies", done.output + self._log())

    def _log(self) -> str:
        """Return what the distribution that failed first has written, or else the end of the log."""
        log, run = self.workspace.home / ".cpanm" / "build.log", self.workspace.run
        search = ("grep", "--text", "--perl-regexp", "--max-count=1", f"--before-context={LINES_BEFORE}")
        # The build may have left something there that has no end.
        limit = ("timeout", LOG_SECONDS)
        found = run("log", [*limit, *search, FIRST_FAILURE, str(log)], Path("/"))
        if found.status != 0:
            found = run("log", [*limit, "tail", f"--bytes={LOG_BYTES}", str(log)], Path("/"))
        return f"\n{found.output}"

    def _taken_over(self) -> Path:
        """Return the installed distributions, without what differs each time that they are built."""
        space, local = self.workspace, self.directory / LOCAL
        if not os.path.lexists(local):
            space.give(local)
        for name, command in (
            ("strip", ["find", LOCAL, "-name", "*.so", "-type", "f", "-exec", *STRIP, "{}", "+"]),
            ("dates", ["find", LOCAL, "-name", "perllocal.pod", "-delete"]),
        ):
            space.run(name, command, self.directory, writes=[space.dependencies])
        local = self.directory / LOCAL
        # Nobody puts anything else in its place from here on.
        for directory in (space.dependencies, self.directory):
            os.chown(directory, os.geteuid(), os.getegid(), follow_symlinks=False)
            directory.chmod(0o700)
        take_over(local)
        installed = space.path / "installed"
        local.rename(installed)
        return installed

    def _keep_tarballs(self) -> None:
        """Keep the tarballs that cpanm has fetched, for later builds.

        They are fetched again: the build may have changed its own. Without them only a later build is slower.
        """
        try:
            found = [path for path, _ in walk(self._saved)] if not self._saved.is_symlink() else []
            good = [path for path in found if re.fullmatch(f"authors/id/{DISTRIBUTION}", path, re.ASCII)]
            self._fetch(good[:MOST_DISTRIBUTIONS])
        except FileNotFoundError:
            return
        except (AgentError, OSError) as error:
            print(f"the tarballs are not kept: {error}", flush=True)


def _damaged(fetched: Path) -> set[str]:
    """Return which of the tarballs that are kept are not whole."""
    try:
        found = json.loads(read_regular(fetched / DAMAGED, LARGEST_LIST))
    except (OSError, ValueError):
        return set()
    return {one for one in found if isinstance(one, str)} if isinstance(found, list) else set()


def cpanm_of(perl: str) -> str:
    """Return the cpanm that a perl runs: the one beside it, or else Debian's."""
    beside = Path(perl).with_name("cpanm")
    return str(beside) if beside.is_file() else (shutil.which("cpanm") or "/usr/bin/cpanm")
