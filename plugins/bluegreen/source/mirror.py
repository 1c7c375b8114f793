"""A mirror of an app's repository on Airflow's machine: all commits, and the files that a run needs.

It is a cache: if it is lost or damaged, it is fetched again. No program of a repository runs here, and
nothing that is pushed can change the behavior of git.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from bluegreen.errors import RefError
from bluegreen.git_refs import HEADS, TAGS
from bluegreen.source.access import OWN_CONFIGURATION, Access
from bluegreen.source.cache import locked_mirror, size_of
from bluegreen.source.forge import DamagedError, ForgeError, ask
from bluegreen.source.git import Answer, run_git
from bluegreen.traffic.good_answer import one_line

T = TypeVar("T")

LISTING_SECONDS = 20.0
FETCH_SECONDS = 900.0
LOCAL_SECONDS = 120.0
TIDY_SECONDS = 300.0

# The largest size of a mirror on disk. A larger one is fetched again, and refused if it is still larger.
LARGEST_MIRROR = 6 * 2**30
MOST_PACKS = 20
LONGEST_SUBJECT = 200

# `promisor` lets git accept a repository without its files. Files above bigFileThreshold are not held in
# memory.
_CONFIG = """\
[core]
\trepositoryformatversion = 1
\tbare = true
\tattributesFile = /dev/null
\tautocrlf = false
\teol = lf
\tbigFileThreshold = 1m
\thooksPath = /dev/null
\tfsmonitor = false
[extensions]
\tpartialClone = origin
[remote "origin"]
\turl = "{url}"
\tpromisor = true
\tpartialclonefilter = blob:none
[gc]
\tauto = 0
[maintenance]
\tauto = false
[fetch]
\trecurseSubmodules = false
\tunpackLimit = 1
[http]
\tlowSpeedLimit = 1
\tlowSpeedTime = 15
"""


def with_mirror(
    repository: str,
    work: Callable[[Mirror], T],
    *,
    commits: Collection[str] = (),
    access: Access = OWN_CONFIGURATION,
) -> T:
    """Update the mirror of a repository, and work with it, exclusively.

    :param repository: URL of the repository.
    :param work: called again, with a new mirror, if the first one turns out to be damaged.
    :param commits: the commits that are needed; if the mirror has them, the repository is not asked.
    :param access: the credentials for the repository.
    :raises RefError: if the repository cannot be read, or the mirror cannot be kept.
    """
    with locked_mirror(repository, access.name) as (path, lock):
        try:
            mirror = Mirror(repository, path, lock, access)
            if not commits or not all(mirror.has(commit) for commit in commits):
                mirror.update()
            return work(mirror)
        except DamagedError:
            mirror = _made_anew(repository, path, lock, access)
        try:
            return work(mirror)
        except DamagedError as error:
            raise RefError(f"a new mirror of {repository} is damaged too: {error}") from None


def _made_anew(repository: str, path: Path, lock: int, access: Access) -> Mirror:
    """Replace a mirror; the old one stays until the new one is complete."""
    new = path.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    try:
        mirror = Mirror(repository, new, lock, access)
        mirror.update()
    except DamagedError as error:
        raise RefError(f"cannot make a mirror of {repository}: {error}") from None
    shutil.rmtree(path, ignore_errors=True)
    mirror.path = new.rename(path)
    return mirror


class Mirror:
    """A repository's branches, tags and history as of the last update.

    :param repository: URL of the repository.
    :param path: directory of the mirror; created if it is missing.
    :param lock: file descriptor of its lock, which git holds as long as it runs.
    :param access: the credentials for the repository; only commands that ask the repository get them.
    """

    def __init__(self, repository: str, path: Path, lock: int, access: Access = OWN_CONFIGURATION) -> None:
        self.repository = repository
        self.path = path
        self._held = (lock,)
        self._access = access
        # The full name of the repository's default branch, or "" if it names none.
        self.default_branch = ""
        self._prepare()

    def update(self) -> None:
        """Fetch new commits, branches and tags.

        :raises ForgeError: if the repository refuses, or fails for too long.
        :raises DamagedError: if the mirror is damaged.
        """
        listing = self._listing()
        if listing != self.refs:
            every = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            self._fetch("--prune", "--no-tags", "--filter=blob:none", "origin", *every)
            del self.refs
            self._tidy()

    @cached_property
    def refs(self) -> dict[str, str]:
        """Object ids of branches and tags by full name; for an annotated tag, the id of the tag object."""
        shown = self.git("for-each-ref", "--format=%(objectname) %(refname)", HEADS, TAGS)
        return {name: value for value, _, name in (line.partition(" ") for line in shown.splitlines())}

    def has(self, revision: str) -> bool:
        """Whether a commit is in the mirror."""
        return self.run("cat-file", "-e", f"{revision}^{{commit}}").status == 0

    def commit(self, name: str) -> str | None:
        """Return the commit of a full ref name, a commit id or its beginning, or ``None``.

        :raises DamagedError: if the mirror lacks a commit that it should have.
        """
        found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        if found.status == 0:
            return found.stdout.strip()
        # Check the mirror before reporting that the commit is missing.
        self.git("rev-list", "--quiet", "--all")
        return None

    def branches_with(self, revision: str) -> list[str]:
        """Return the full names of the branches that contain a commit."""
        return self.git("for-each-ref", f"--contains={revision}", "--format=%(refname)", HEADS).split("\n")[
            :-1
        ]

    def tags_of(self, revision: str) -> list[str]:
        """Return the full names of the tags that name a commit."""
        return self.git("for-each-ref", f"--points-at={revision}", "--format=%(refname)", TAGS).split("\n")[
            :-1
        ]

    def count(self, revision: str, other: str) -> int:
        """Count the commits of the first revision that the second one lacks."""
        return int(self.git("rev-list", "--count", revision, f"^{other}"))

    def committed(self, revision: str) -> int:
        """Return the commit's own date, in seconds since the epoch."""
        # `git show` would look for renamed files, and for that read files that the mirror does not have.
        return int(self.git("rev-list", "--max-count=1", "--timestamp", revision).partition(" ")[0])

    def log(self, between: str, *options: str, most: int) -> list[str]:
        """Return lines of ``git log``, the newest commit first.

        :param between: a range, such as ``A...B``.
        """
        shown = self.git(
            *("log", f"--max-count={most}", "--no-show-signature", "--no-mailmap", *options, between, "--")
        )
        # A subject may contain control characters, such as other line ends.
        seen = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in shown)
        return seen.split("\n")[:-1]

    def subject(self, revision: str) -> str:
        """Return the first line of a commit's message, shortened."""
        return one_line("".join(self.log(revision, "--format=%s", most=1)), LONGEST_SUBJECT)

    def keep(self, name: str, revision: str) -> bool:
        """Keep a commit in the mirror even if no branch leads to it any more; fetch it if necessary.

        :param name: the name to keep it by; it releases the previous commit of that name.
        :return: whether the commit is there.
        """
        kept = f"refs/bluegreen/{name}"
        if self.commit(revision):
            self.git("update-ref", kept, revision)
            return True
        try:
            self._fetch("--no-tags", "--filter=blob:none", "origin", f"+{revision}:{kept}")
        except ForgeError:
            return False
        return True

    def fetched(self, revision: str, blobs: Iterable[str]) -> dict[str, int]:
        """Fetch files of a revision by their ids, those that the mirror lacks, all at once.

        :return: the size of each file in bytes.
        :raises ForgeError: if the repository refuses, or fails for too long.
        """
        # `cat-file` would fail at the first missing one.
        tree = ("--objects", "--no-object-names", "--missing=print", f"{revision}^{{tree}}")
        listed = self.git("rev-list", *tree).splitlines()
        wanted = dict.fromkeys(blobs)
        missing = [f"{line[1:]}\n" for line in listed if line.startswith("?") and line[1:] in wanted]
        if missing:
            # The filter without files does not apply to what is asked for by its id.
            options = ("-c", "fetch.negotiationAlgorithm=noop")
            what = ("--no-tags", "--filter=blob:none", "--stdin", "origin")
            self._fetch(*what, options=options, stdin="".join(missing))
        asked = "".join(f"{blob}\n" for blob in wanted)
        shown = self.git("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked)
        return {blob: int(size) for blob, _, size in (line.partition(" ") for line in shown.splitlines())}

    def git(self, *arguments: str, stdin: str = "", timeout: float = LOCAL_SECONDS) -> str:
        """Run a git command that needs only the mirror.

        :raises DamagedError: if it fails.
        """
        answer = self.run(*arguments, stdin=stdin, timeout=timeout)
        self.require(answer)
        return answer.stdout

    @staticmethod
    def require(answer: Answer) -> None:
        """Make sure that a command that needs only the mirror was successful.

        :raises DamagedError: if it was not.
        """
        if answer.status != 0:
            raise DamagedError(answer.complaint)

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        timeout: float = LOCAL_SECONDS,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
    ) -> Answer:
        """Run git in the mirror, and return its result, whatever its exit status.

        :param stdin: text for its standard input.
        :param timeout: seconds after which git is killed.
        :param environment: further variables.
        :param directory: another repository, with the same objects.
        """
        return run_git(
            *arguments,
            directory=directory or self.path,
            stdin=stdin,
            timeout=timeout,
            held=self._held,
            environment=environment,
        )

    def ask(self, *arguments: str, stdin: str = "", timeout: float = FETCH_SECONDS) -> Answer:
        """Run git that asks the repository, again for a while if it is in trouble.

        :raises ForgeError: if the repository refuses, or fails for too long.
        :raises DamagedError: if the mirror is damaged.
        """
        return ask(lambda: self._remote(*arguments, stdin=stdin, timeout=timeout), self.repository)

    def _remote(self, *arguments: str, timeout: float, stdin: str = "") -> Answer:
        return run_git(
            *arguments,
            directory=self.path,
            stdin=stdin,
            timeout=timeout,
            held=self._held,
            access=self._access,
        )

    def _fetch(self, *arguments: str, options: Sequence[str] = (), stdin: str = "") -> None:
        fetch = ("fetch", "--quiet", "--no-write-fetch-head", *arguments)
        self.ask(*options, *fetch, stdin=stdin)

    def _prepare(self) -> None:
        """Create the mirror, or continue one that a killed run has left."""
        if not (self.path / "HEAD").exists():
            if self.path.is_dir():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
            made = run_git(
                "init", "--quiet", "--bare", "--template=", str(self.path), timeout=30, held=self._held
            )
            if made.status != 0:
                raise RefError(f"cannot make {self.path}: {made.complaint}")
        url = self.repository.replace("\\", "\\\\").replace('"', '\\"')
        # git-lfs reads a configuration from HEAD, so HEAD must not lead to a branch.
        for name, text in (("config", _CONFIG.format(url=url)), ("HEAD", "ref: refs/bluegreen/none\n")):
            new = self.path / f"{name}.new"
            new.write_text(text, encoding="utf-8")
            new.replace(self.path / name)
        # The process that made these is dead: it would hold the lock.
        for left in [*self.path.glob("*.lock"), *self.path.glob("refs/**/*.lock")]:
            left.unlink(missing_ok=True)
        for left in self.path.glob("objects/**/tmp_*"):
            left.unlink(missing_ok=True)

    def _listing(self) -> dict[str, str]:
        """Return the repository's branches and tags, and read its default branch."""
        patterns = ("HEAD", "refs/heads/*", "refs/tags/*")
        answer = ask(lambda: self._listed(patterns), self.repository)
        lines = [line.partition("\t")[::2] for line in answer.stdout.split("\n")[:-1]]
        listing = {name: value for value, name in lines if name.startswith((HEADS, TAGS))}
        named = [value.removeprefix("ref: ") for value, name in lines if value.startswith("ref: ")]
        self.default_branch = next((name for name in named if name in listing), "")
        return {name: value for name, value in listing.items() if not name.endswith("^{}")}

    def _listed(self, patterns: Sequence[str]) -> Answer:
        """Ask for the listing; to git another server's web page is an empty listing, which is an error."""
        answer = self._remote("ls-remote", "--symref", "origin", *patterns, timeout=LISTING_SECONDS)
        if answer.status == 0 and f"\t{HEADS}" not in answer.stdout:
            return Answer(1, "", "fatal: it answers, and lists no branch")
        return answer

    def _tidy(self) -> None:
        """Pack the mirror, and check its size."""
        if len(list(self.path.glob("objects/pack/*.pack"))) > MOST_PACKS:
            self.git("gc", "--quiet", "--prune=now", timeout=TIDY_SECONDS)
        if (size := size_of(self.path)) > LARGEST_MIRROR:
            if self.path.suffix == ".new":
                raise ForgeError(
                    f"the history of {self.repository} takes {size // 2**20} MB, and a mirror may have "
                    f"{LARGEST_MIRROR // 2**20} MB"
                )
            raise DamagedError(f"it has {size // 2**20} MB")
