"""The source of a revision, as one tar."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bluegreen.errors import BlueGreenError, RefError
from bluegreen.source import archive, export, git, tree
from bluegreen.source.archive import Source, write_source
from bluegreen.source.needed import Needed
from tests.unit.local_forge import Forge
from tests.unit.repositories import Repository

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out" / "source.tar.gz"


@pytest.fixture
def write(shop: Repository, local: Forge, target: Path) -> Any:
    def write(revision: str, **options: Any) -> Source:
        target.parent.mkdir(exist_ok=True)
        return write_source(f"{local.url}/shop.git", revision, target, **options)

    return write


def contents(source: Source) -> dict[str, str]:
    """Return the content of each file, ``-> target`` of each link and ``/`` of each directory."""
    found = {}
    with tarfile.open(source.path) as tar:
        for member in tar:
            if member.isdir():
                found[member.name] = "/"
            elif member.issym():
                found[member.name] = f"-> {member.linkname}"
            else:
                content = tar.extractfile(member)
                assert content is not None
                found[member.name] = content.read().decode()
    return found


def refused(write: Any, revision: str, **options: Any) -> str:
    """Return the one line that says why there is no source."""
    with pytest.raises(BlueGreenError) as caught:
        write(revision, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def plant(repository: Repository, *entries: tuple[str, str, bytes]) -> str:
    """Commit a tree that git itself would not make: mode, name, content of each entry."""
    lines = b""
    for mode, name, content in entries:
        kind = "tree" if mode == "40000" else "blob"
        made = subprocess.run(
            ["git", "-C", str(repository.path), "hash-object", "-w", "--literally", "-t", kind, "--stdin"],
            input=content,
            capture_output=True,
            check=True,
        )
        lines += f"{mode} ".encode() + os.fsencode(name) + b"\0" + bytes.fromhex(made.stdout.decode().strip())
    planted = subprocess.run(
        ["git", "-C", str(repository.path), "hash-object", "-w", "--literally", "-t", "tree", "--stdin"],
        input=lines,
        capture_output=True,
        check=True,
    )
    revision = repository.git("commit-tree", "-m", "planted", planted.stdout.decode().strip())
    repository.git("update-ref", "refs/heads/main", revision)
    return revision


def test_a_source_has_the_files_of_the_revision_and_nothing_else(shop: Repository, write: Any) -> None:
    (shop.path / "lib").mkdir()
    (shop.path / "lib" / "link").symlink_to("../app.psgi")
    (shop.path / "script").write_text("#!/bin/sh\n")
    (shop.path / "script").chmod(0o700)
    shop.git("add", ".")
    head = shop.commit(**{"app.psgi": "sub { }\n", "lib/Shop.pm": "1;\n"})
    source = write(head)
    assert contents(source) == {
        "app.psgi": "sub { }\n",
        "lib": "/",
        "lib/Shop.pm": "1;\n",
        "lib/link": "-> ../app.psgi",
        "script": "#!/bin/sh\n",
    }
    with tarfile.open(source.path) as tar:
        assert {member.name: f"{member.mode:o}" for member in tar} == {
            **{"app.psgi": "644", "lib": "755", "lib/Shop.pm": "644", "lib/link": "777", "script": "755"},
        }
    with tarfile.open(source.path) as tar:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in tar} == {
            (source.committed, 0, 0, "", "")
        }
    assert source.trees == {"": shop.git("rev-parse", "HEAD^{tree}")}
    assert source.committed == int(shop.git("show", "-s", "--format=%ct"))
    assert (source.revision, source.files, source.unpacked) == (head, 4, 21)
    assert source.size == source.path.stat().st_size
    assert source.sha256 == hashlib.sha256(source.path.read_bytes()).hexdigest()


def test_the_same_revision_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, cache: Path, tmp_path: Path
) -> None:
    head = shop.commit(**{"app.psgi": "1\n", ".gitattributes": "*.txt text=auto\n", "a.txt": "x\r\ny\n"})
    first = write(head)
    # Another worker, whose user has another configuration.
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".gitconfig").write_text(
        f"[core]\n\tautocrlf = true\n\tattributesFile = {tmp_path}/home/attributes\n[tar]\n\tumask = 077\n"
    )
    (tmp_path / "home" / "attributes").write_text("app.psgi export-ignore\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(cache / "other"))
    assert write(head) == first


def test_only_files_that_the_revision_needs_are_fetched(shop: Repository, write: Any, cache: Path) -> None:
    shop.commit(**{"old.txt": "old\n", "app.psgi": "1\n"})
    shop.git("rm", "-q", "old.txt")
    head = shop.commit(**{".gitattributes": "/t export-ignore\n", "t/huge.json": "{}\n"})
    write(head)
    [mirror] = (cache / "repositories").glob("*.git")
    objects = ["git", "-C", str(mirror), "cat-file", "--batch-all-objects", "--batch-check"]
    kinds = subprocess.run(objects, capture_output=True, text=True, check=True).stdout
    # app.psgi and .gitattributes.
    assert kinds.count(" blob ") == 2


def test_all_files_are_fetched_at_once(shop: Repository, write: Any, local: Forge) -> None:
    head = shop.commit(**{f"file{number}": f"{number}\n" for number in range(50)})
    write(head)
    local.asked.clear()
    assert write(head).files == 50
    assert local.asked == [], "a mirror that has everything asks nobody"


def test_export_ignore_and_export_subst_count(shop: Repository, write: Any) -> None:
    attributes = "docs/ export-ignore\n*.t export-ignore\nversion export-subst\n"
    head = shop.commit(
        **{
            ".gitattributes": attributes,
            "docs/a": "a",
            "docs/b/c": "c",
            "lib/x.t": "x",
            "lib/X.pm": "1;",
            "version": "$Format:%H$",
        }
    )
    source = write(head)
    assert contents(source) == {
        ".gitattributes": attributes,
        "lib": "/",
        "lib/X.pm": "1;",
        "version": head,
    }


@pytest.mark.parametrize(
    ("ignored", "hidden"),
    [
        ("cpanfile.snapshot", "cpanfile.snapshot"),
        ("/app.psgi", "app.psgi"),
        ("vendor/", "vendor/cache/authors/id/x.tar.gz"),
        ("*.tar.gz", "vendor/cache/authors/id/x.tar.gz"),
        ("lib/", "lib"),
    ],
)
def test_what_a_deploy_needs_and_export_ignore_hides_is_named(
    shop: Repository, write: Any, ignored: str, hidden: str
) -> None:
    files = dict.fromkeys(("app.psgi", "cpanfile.snapshot", "lib/Shop.pm", "vendor/cache/.gitignore"), "x")
    tarballs = {
        "vendor/cache/authors/id/x.tar.gz": "x",
        "vendor/cache/modules/02packages.details.txt.gz": "x",
    }
    head = shop.commit(**{**files, **tarballs, ".gitattributes": f"{ignored} export-ignore\n"})
    needed = Needed(paths=("app.psgi", "cpanfile", "cpanfile.snapshot", "lib"), whole=("vendor/cache",))
    assert refused(write, head, needed=needed) == (
        f".gitattributes keeps {hidden} from the release; remove its export-ignore there"
    )


def test_what_only_git_needs_may_be_hidden(shop: Repository, write: Any) -> None:
    files = {"lib/Shop.pm": "1", "lib/shop.t": "1", "vendor/cache/.gitignore": "", "vendor/cache/x": ""}
    head = shop.commit(**{**files, ".gitattributes": "*.t export-ignore\n.gitignore export-ignore\n"})
    assert write(head, needed=Needed(paths=("lib",), whole=("vendor/cache",))).files == 3


def test_the_directory_of_the_app_is_looked_for(shop: Repository, write: Any) -> None:
    head = shop.commit(**{"backend/app.psgi": "1", ".gitattributes": "/tools export-ignore\n", "tools/x": ""})
    assert write(head, needed=Needed("backend")).files == 2
    for root in ("backen", "backend/app.psgi"):
        assert refused(write, head, needed=Needed(root)) == (
            f"there is no directory {root} in {head[:12]}; correct server.root, or commit it"
        )
    assert refused(write, head, needed=Needed("tools")) == (
        ".gitattributes keeps tools from the release; remove its export-ignore there"
    )


def test_files_whose_names_differ_in_case_are_two_files(shop: Repository, write: Any) -> None:
    head = shop.commit(**{"README": "a", "readme": "b", "Lib/x": "c", "lib/x": "d"})
    assert contents(write(head))["readme"] == "b"
    assert write(head).files == 4


@pytest.mark.parametrize("name", ["two\nlines", "escape\x1b[2J", "-rf", " blank ", "$(id)", "ünï", "x" * 255])
def test_a_name_is_taken_as_it_is_or_refused(shop: Repository, write: Any, name: str) -> None:
    head = shop.commit(**{name: "x"})
    if name.isprintable():
        assert contents(write(head)) == {name: "x"}
    else:
        assert refused(write, head) == (
            f"{head[:12]} cannot be deployed: {name!a} has a control character in its name; rename the file"
        )


HOSTILE: dict[str, tuple[tuple[tuple[str, str, bytes], ...], str]] = {
    ".git": ((("100644", ".git", b"gitdir: /"),), "'.git' is a path that git itself refuses"),
    ".GIT": ((("100644", ".GIT", b"x"),), "'.GIT' is a path that git itself refuses"),
    "..": ((("100644", "..", b"x"),), "'..' is a path that git itself refuses"),
    "with a slash": ((("100644", "../../etc/passwd", b"x"),), "is a path that git itself refuses"),
    "absolute": ((("100644", "/etc/passwd", b"x"),), "is a path that git itself refuses"),
    "not UTF-8": ((("100644", os.fsdecode(b"\xff\xfe"), b"x"),), "is a name that is not UTF-8; rename"),
    "two of one name": ((("100644", "a", b"1"), ("100644", "a", b"2")), "its tree has two files of one name"),
    "below a link": (
        (("120000", "a", b"/etc"), ("100644", "a/passwd", b"x")),
        "in its tree 'a' is a file and a directory",
    ),
    "too long": ((("100644", "n" * 256, b"x"),), "is too long; a name may have 255 bytes"),
    "too deep": ((("100644", "/".join(["d"] * 52), b"x"),), "is too deep; a path may have 50 directories"),
    "a link to a book": ((("120000", "a", b"/" * 5000),), "the target of the link a has 5000 bytes"),
    "a link to two lines": ((("120000", "a", b"b\nc"),), "the target of the link a has control characters"),
    "an NTFS name": ((("100644", ".gitattributes", b""), ("100644", "git~1", b"x")), "refuses its tree"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_tree_that_only_an_attacker_makes_is_refused(shop: Repository, write: Any, what: str) -> None:
    shop.commit(**{"app.psgi": "1"})
    entries, reason = HOSTILE[what]
    assert reason in refused(write, plant(shop, *entries))


def test_a_link_may_lead_anywhere_until_the_build_looks_at_it(shop: Repository, write: Any) -> None:
    (shop.path / "config").symlink_to("/etc/shop")
    shop.git("add", "config")
    assert contents(write(shop.commit())) == {"config": "-> /etc/shop"}


def test_a_source_with_too_many_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, local: Forge
) -> None:
    head = shop.commit(**{f"f{number}": "" for number in range(6)})
    monkeypatch.setattr(tree, "MOST_FILES", 5)
    assert refused(write, head) == (
        f"{head[:12]} of {local.url}/shop.git has 6 files, and a source may have 5"
    )


@pytest.mark.parametrize("name", [".gitattributes", ".gitmodules"])
def test_a_file_that_git_is_to_read_has_a_bound(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, name: str
) -> None:
    shop.git("update-index", "--add", "--cacheinfo", f"160000,{'ab' * 20},lib")
    head = shop.commit(**{name: "#" * 5000})
    monkeypatch.setattr(tree, "LARGEST_TEXT", 4999)
    assert refused(write, head) == (f"{name} of {head[:12]} has 5000 bytes, and not more than 4999 are read")


def test_a_source_with_too_many_directories_is_refused(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any
) -> None:
    head = shop.commit(**{"a/b/c/d/e/f": "", "1/2/3": ""})
    monkeypatch.setattr(tree, "MOST_FILES", 5)
    assert refused(write, head) == f"{head[:12]} cannot be deployed: it has more than 5 directories"


def test_a_source_that_is_too_large_is_refused_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, target: Path
) -> None:
    head = shop.commit(zeros="0" * 3_000_000)
    monkeypatch.setattr(export, "LARGEST_SOURCE", 2 * 2**20)
    monkeypatch.setattr(export.Room, "__init__", lambda room: room.__dict__.update(files=9, size=2 * 2**20))
    assert re.fullmatch(
        rf"{head[:12]} of http\S+shop\.git is too large: a source may have 2 MB; export-ignore in "
        r"\.gitattributes keeps from it what a deploy does not need",
        refused(write, head),
    )
    assert [*target.parent.iterdir()] == []


def test_a_file_that_grows_without_bound_ends_git_and_not_the_machine(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any
) -> None:
    shop.commit(**{".gitattributes": "bomb export-subst\n", "bomb": "$Format:%B$" * 2000})
    (shop.path / "message").write_text("long " * 50_000)
    shop.git("commit", "-q", "--amend", "-F", str(shop.path / "message"))
    head = shop.git("rev-parse", "HEAD")
    monkeypatch.setattr(git, "LARGEST_MEMORY", 64 * 2**20)
    assert "needs more than" in refused(write, head)


def test_no_program_that_the_repository_or_the_user_names_runs(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    touch = f"touch {tmp_path}/ran"
    (tmp_path / "home" / ".gitconfig").write_text(
        f'[filter "evil"]\n\tsmudge = {touch}\n\tprocess = {touch}\n[gpg]\n\tprogram = {touch}\n'
        f"[core]\n\tfsmonitor = {touch}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    attributes = "* filter=evil\nsigned export-subst\n"
    head = shop.commit(**{".gitattributes": attributes, "signed": "$Format:%G?$", "a": "x"})
    assert contents(write(head))["a"] == "x"
    assert not (tmp_path / "ran").exists()


def test_a_commit_that_is_gone_is_named(shop: Repository, write: Any) -> None:
    shop.commit(**{"a": "x"})
    assert re.fullmatch(
        r"http\S+shop\.git does not have the commit abababababab; push it", refused(write, "ab" * 20)
    )


def test_a_commit_of_any_date_has_one_that_file_systems_know(shop: Repository, write: Any) -> None:
    shop.commit(**{"a": "x"})
    line = f"tree {shop.git('rev-parse', 'HEAD^{tree}')}\nauthor t <t@example.com> 99999999999999 +0000\n"
    raw = f"{line}{line.split(chr(10))[1].replace('author', 'committer')}\n\nlate\n"
    made = subprocess.run(
        ["git", "-C", str(shop.path), "hash-object", "-w", "-t", "commit", "--literally", "--stdin"],
        input=raw,
        capture_output=True,
        text=True,
        check=True,
    )
    head = made.stdout.strip()
    shop.git("update-ref", "refs/heads/main", head)
    assert write(head).committed == archive.LATEST_DATE


def test_nothing_is_left_behind_and_nothing_half_written_is_there(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, target: Path
) -> None:
    head = shop.commit(**{"a": "x" * 1000})
    monkeypatch.setattr(archive, "LARGEST_SOURCE", 999)
    assert "the source is too large" in refused(write, head)
    assert [*target.parent.iterdir()] == []
    monkeypatch.undo()


def test_a_damaged_mirror_is_fetched_again(shop: Repository, write: Any, cache: Path) -> None:
    head = shop.commit(**{"a": "x" * 1000})
    first = write(head)
    for pack in cache.glob("repositories/*.git/objects/pack/*.pack"):
        pack.chmod(0o600)
        os.truncate(pack, 20)
    assert write(head) == first


def test_a_forge_in_trouble_is_asked_again(shop: Repository, write: Any, local: Forge) -> None:
    head = shop.commit(**{"a": "x"})
    local.misbehave("status", status=503, count=2)
    assert contents(write(head)) == {"a": "x"}
    with pytest.raises(RefError, match="does not have the commit"):
        write("cd" * 20)


def test_a_disk_that_is_full_is_one_line(
    monkeypatch: pytest.MonkeyPatch, shop: Repository, write: Any, target: Path
) -> None:
    head = shop.commit(**{"a": "x"})

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_write", full)
    assert refused(write, head) == (
        f"the cache {target.parent} cannot be used: No space left on device; BLUEGREEN_CACHE_DIR names the "
        "directory"
    )
