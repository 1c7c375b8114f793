"""Building a release: the step ``build`` of a job, on one idle droplet."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from agent.call import Call
from agent.droplet import dependencies as sets
from agent.droplet.app_paths import AppPaths
from agent.droplet.artifact import pack, unpack
from agent.droplet.caged import run_caged
from agent.droplet.dependencies import CARTON, CPANM, NONE, Needs
from agent.droplet.inspection import add_links, make_way, take_over
from agent.droplet.installers import LOCAL, Installer, cpanm_of
from agent.droplet.jobs import Job
from agent.droplet.links import may_be_linked_to
from agent.droplet.manifest import PLACE, Manifest, scan
from agent.droplet.packages import install_packages
from agent.droplet.perl_key import perl_key, require_roots
from agent.droplet.receiving import received, sent_file
from agent.droplet.reserve import check_room
from agent.droplet.running import USER
from agent.droplet.users import let_in, make_build_user, require_user
from agent.droplet.workspace import RunCaged, Workspace, beneath
from agent.fields import PROGRAM, REVISION, number, text
from agent.protocol import AgentError, Code, Dependencies, EarlierArtifact, Json, SentFile
from agent.release_name import DIGEST
from agent.system import remove_tree

# The app's directory in the repository.
DIRECTORY = r"[^\x00-\x1f\x7f]{1,1000}"
# A mirror's URL, in which nobody's password may stand.
MIRROR = r"https?://[^\s@/?#]{1,300}(/[^\s?#]{0,500})?"
FEATURE = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}"
MOST_COMMANDS = 50
# What npm, make and others may need besides the cage: node makes code at run time.
_FOR_COMMANDS = ("MemoryDenyWriteExecute=no",)
_GZIP = b"\x1f\x8b"


def build(call: Call, request: Json) -> Json:
    """Build a release from its source, and pack it.

    The source is run by the build user, in the cage; what came out is inspected by root. Dependencies that
    are made from the same files, by the same perl and settings, are taken from the app's cache, or from an
    earlier artifact that was built on another droplet. What commands of the settings leave in the tree is
    part of the release. It writes what it does.

    Request: ``protocol.BuildRequest``; the source is in ``incoming``, a tar or tar.gz without a directory
    above it. Answer: ``protocol.BuildAnswer``; the artifact is in ``outgoing``. Codes: ``bad_request``;
    ``failed`` with the cause: nothing is in ``outgoing`` then. Killed anywhere, it leaves a directory that
    the next job, or claim, removes; no artifact is half written under its name.
    """
    return Build.of(call, request, run_caged).answer()


@dataclass(frozen=True)
class Build:
    """The build of one release."""

    call: Call
    space: Workspace
    source: SentFile
    earlier: EarlierArtifact | None
    revision: str
    committed: int
    root: str
    perl: str
    packages: list[str]
    dependencies: Dependencies
    credentials: dict[str, str] | None
    commands: list[list[str]]
    network: bool
    links: dict[str, str]

    @classmethod
    def of(cls, call: Call, request: Json, run: RunCaged) -> Build:
        """Read it from a request.

        :param run: what runs a command in the cage.
        :raises AgentError: with the code ``bad_request``.
        """
        job = Job.of(call, request)
        cage = _texts(request, "cage", r"[^\x00-\x1f]{1,500}")
        return cls(
            call=call,
            space=Workspace(job.app, job.unit, text(request, "user", USER), cage, run),
            source=sent_file(request.get("source")),
            earlier=_earlier(request.get("earlier")),
            revision=text(request, "revision", REVISION),
            committed=int(number(request, "committed", 0, 1 << 33)),
            root=text(request, "root", DIRECTORY),
            perl=text(request, "perl", PROGRAM),
            packages=_texts(request, "packages", r"[^\x00-\x1f]{1,100}"),
            dependencies=_dependencies(request.get("dependencies")),
            credentials=_credentials(request.get("credentials")),
            commands=_commands(request.get("commands")),
            network=request.get("network") is True,
            links=_links(job.app, request.get("links")),
        )

    def answer(self) -> Json:
        """Build it.

        :raises AgentError: with the code ``failed`` and the cause.
        """
        app = self.space.app
        remove_tree(app.outgoing)
        app.outgoing.mkdir(mode=0o700)
        self._preflight()
        archive = received(self.call, app, self.source)
        try:
            self.space.make()
            self._unpack(archive)
            local = self._install_dependencies()
            self._run_commands(local)
            manifest = self._seal(local)
            file = app.outgoing / f"{manifest.digest}.tar.gz"
            part = file.with_name(f"{file.name}.part")
            artifact = pack(self.space.tree, part, app.name)
            part.rename(file)
        finally:
            self.space.remove()
        print(f"built {manifest.release}: {artifact['size'] / 1e6:.1f} MB", flush=True)
        sent = {**artifact, "name": file.name}
        return {
            "release": manifest.release,
            "digest": manifest.digest,
            "artifact": sent,
            "dependencies": local.name if local is not None else None,
        }

    def _preflight(self) -> None:
        app = self.space.app
        require_user(app.name)
        make_build_user(self.space.user)
        let_in(self._cache, pwd.getpwnam(self.space.user).pw_gid)
        check_room(app)
        install_packages(self.packages)
        require_roots(self.perl)
        tools = {NONE: [], CPANM: [cpanm_of(self.perl)], CARTON: [cpanm_of(self.perl), "carton"]}
        for tool in tools[self.dependencies["installer"]]:
            if not shutil.which(tool):
                raise AgentError(Code.FAILED, f"{Path(tool).name} is not installed on this droplet")

    def _unpack(self, archive: Path) -> None:
        """Unpack the source as the build user; nothing of it runs."""
        tree = self.space.tree
        print(f"building {self.revision}", flush=True)
        with archive.open("rb", buffering=0) as source:
            packed = ["--gzip"] if source.read(len(_GZIP)) == _GZIP else []
            source.seek(0)
            command = ["tar", "--extract", "--file=-", "--no-same-owner", *packed]
            done = self.space.run("unpack", command, tree, writes=[tree], stdin=source)
        if done.status != 0:
            raise self.space.failed("cannot unpack the source", done.output)

    def _install_dependencies(self) -> Path | None:
        """Return the directory of the installed dependencies, in the cache; None if there are none."""
        app = beneath(self.space.tree, self.root)
        needs = sets.needs_of(app, self.dependencies["installer"])
        if needs is None:
            if self.dependencies["installer"] != NONE:
                print("there is no cpanfile, so no dependencies are installed", flush=True)
            return None
        cache = self._cache
        key = sets.key_of(*self._key_parts(), *self._made_from(app, needs))
        if (cache / key).is_dir():
            print("dependencies are unchanged", flush=True)
            os.utime(cache / key)
            return cache / key
        installed = self._of_earlier(key)
        if installed is None:
            installed = self._newly_installed(needs)
        kept = sets.keep(cache, key, installed)
        # Nothing else of an earlier artifact is there for the build's commands.
        remove_tree(self._earlier_place)
        sets.prune(cache, key)
        return kept

    def _of_earlier(self, key: str) -> Path | None:
        """Return the dependencies of the earlier artifact, unpacked, if they are the ones with this name."""
        if self.earlier is None or self.earlier["dependencies"] != key:
            return None
        place = self._earlier_place
        try:
            archive = received(self.call, self.space.app, self.earlier["artifact"])
            unpack(archive, place, self.space.app.name, self.earlier["digest"])
            installed = beneath(beneath(place, self.root), LOCAL)
        except (AgentError, OSError) as error:
            # Slower, but no worse. What is unpacked of it is not for the repository's code.
            remove_tree(place)
            print(f"the dependencies of an earlier artifact are not taken: {error}", flush=True)
            return None
        print("dependencies are unchanged: they are taken from an earlier artifact", flush=True)
        return installed

    @property
    def _earlier_place(self) -> Path:
        return self.space.path / "earlier"

    def _newly_installed(self, needs: Needs) -> Path:
        print("installing dependencies", flush=True)
        installed = Installer(
            self.space,
            self.dependencies,
            self.credentials,
            needs,
            self.perl,
            self.root,
            self.committed,
            self.network,
        ).install()
        # Commands find the same home whether or not dependencies had to be installed.
        self.space.make_home()
        return installed

    @property
    def _cache(self) -> Path:
        return self.space.app.root / "cache"

    def _key_parts(self) -> tuple[str, dict[str, Any]]:
        settings = {
            **self.dependencies,
            "packages": sorted(self.packages),
            "perl": self.perl,
            # An earlier artifact has its dependencies there. And links of two apps of one repository may
            # lead to the same files.
            "root": self.root,
        }
        return self._perl_key, {**settings, "network": self.network}

    def _made_from(self, app: Path, needs: Needs) -> tuple[Path, tuple[str, ...]]:
        # The directory of the app counts, too, if the whole repository does.
        return (self.space.tree, (".",)) if needs.is_whole else (app, needs.files)

    @cached_property
    def _perl_key(self) -> str:
        key = perl_key(self.perl)
        if not key:
            raise AgentError(Code.FAILED, f"{self.perl} does not run on this droplet")
        return key

    def _run_commands(self, local: Path | None) -> None:
        """Run the settings' commands, which find the dependencies where the app finds them later."""
        if not self.commands:
            return
        app = beneath(self.space.tree, self.root)
        if local is not None:
            make_way(app, LOCAL)
            (app / LOCAL).symlink_to(local)
        path = [str(app / LOCAL / "bin"), str(Path(self.perl).parent), "/usr/local/bin", "/usr/bin", "/bin"]
        environment = {
            "PATH": ":".join(path),
            "PERL5LIB": f"{app / LOCAL}/lib/perl5:{app}/lib",
            "SOURCE_DATE_EPOCH": str(self.committed),
        }
        for command in self.commands:
            print(f"running {shlex.join(command)}", flush=True)
            done = self.space.run(
                "command",
                command,
                app,
                writes=[self.space.tree],
                hides=sets.sets_in(self._cache, local),
                environment=environment,
                network=self.network,
                properties=_FOR_COMMANDS,
            )
            if done.status != 0:
                what = f"the build command {shlex.join(command)[:200]} failed with status {done.status}"
                raise self.space.failed(what, done.output)

    def _seal(self, local: Path | None) -> Manifest:
        """Make the tree root's, and the release that it is to be; whoever built it is gone."""
        space, tree = self.space, self.space.tree
        space.path.chmod(0o700)
        app = beneath(tree, self.root)
        if local is not None:
            make_way(app, LOCAL)
        make_way(tree, ".bluegreen", "REVISION")
        take_over(tree, self.links.values())
        if local is not None:
            sets.link_tree(local, app / LOCAL)
        return seal(tree, space.app.name, self.revision, self.committed, self._perl_key, self.links)


def seal(tree: Path, app: str, revision: str, committed: int, perl: str, links: dict[str, str]) -> Manifest:
    """Add to a tree that nobody else can change what every release has, and return its manifest.

    :param perl: see :mod:`agent.droplet.perl_key`.
    :param links: links that the release gets, by path.
    :raises AgentError: if a file is where a link is to be.
    """
    add_links(tree, links)
    _write_new(tree / "REVISION", f"{revision}\n".encode())
    (tree / ".bluegreen").mkdir(0o755)
    for name, data in wrappers().items():
        _write_new(tree / ".bluegreen" / name, data)
    manifest = Manifest(app, revision, committed, perl, scan(tree))
    _write_new(tree / PLACE, manifest.data)
    return manifest


def wrappers() -> dict[str, bytes]:
    """Return the files of the agent that are in every release, by their names."""
    files = {entry.name: entry for entry in resources.files("agent.droplet").iterdir()}
    wanted = [name for name in files if re.fullmatch(r".*\.psgi|revision_.*\.pl", name)]
    return {name: files[name].read_bytes() for name in sorted(wanted)}


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)


def _earlier(value: object) -> EarlierArtifact | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise AgentError(Code.BAD_REQUEST, f"earlier: {value!r:.60} is not usable")
    return {
        "dependencies": text(value, "dependencies", sets.NAME),
        "digest": text(value, "digest", DIGEST),
        "artifact": sent_file(value.get("artifact")),
    }


def _texts(request: Json, key: str, pattern: str) -> list[str]:
    value = request.get(key)
    if isinstance(value, list) and all(isinstance(one, str) and re.fullmatch(pattern, one) for one in value):
        return value
    raise AgentError(Code.BAD_REQUEST, f"{key}: {value!r:.60} is not usable")


def _dependencies(value: object) -> Dependencies:
    if not isinstance(value, dict):
        raise AgentError(Code.BAD_REQUEST, f"dependencies: {value!r:.60} is not usable")
    return {
        "installer": text(value, "installer", f"{CARTON}|{CPANM}|{NONE}"),
        "without": _texts(value, "without", FEATURE),
        "features": _texts(value, "features", FEATURE),
        "mirror": None if value.get("mirror") is None else text(value, "mirror", MIRROR),
        "run_tests": value.get("run_tests") is True,
    }


def _credentials(value: object) -> dict[str, str] | None:
    """Return the credentials of a request; an error does not show them."""
    if value is None:
        return None
    if isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("login", "password")):
        return {"login": value["login"], "password": value["password"]}
    raise AgentError(Code.BAD_REQUEST, "credentials: they are not usable")


def _commands(value: object) -> list[list[str]]:
    if isinstance(value, list) and len(value) <= MOST_COMMANDS and all(map(_is_command, value)):
        return value
    raise AgentError(Code.BAD_REQUEST, f"commands: {value!r:.60} is not usable")


def _is_command(value: object) -> bool:
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(isinstance(word, str) and "\0" not in word for word in value)  # type: ignore[attr-defined]


def _links(app: AppPaths, value: object) -> dict[str, str]:
    if isinstance(value, dict) and all(
        isinstance(path, str) and isinstance(target, str) and may_be_linked_to(app.name, target)
        for path, target in value.items()
    ):
        return value
    raise AgentError(Code.BAD_REQUEST, f"links: {value!r:.60} is not usable")
