"""What compiled modules depend on is named in two lines, and a mirror is asked by https."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.droplet import perl_key as module
from agent.droplet.mirrors import default_mirror
from agent.droplet.perl_key import changeable_part, perl_key, require_roots
from agent.protocol import AgentError

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


def said(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def group_may_write(directory: Path) -> None:
    os.chown(directory, 0, 65534)
    directory.chmod(0o775)


def test_a_perl_is_named_with_its_architecture_and_the_c_library() -> None:
    perl, libc = perl_key("/usr/bin/perl").split("\n")
    assert perl.split()[0] == said("perl", "-e", "printf '%vd', $^V")
    assert libc == said("getconf", "GNU_LIBC_VERSION")


@pytest.mark.parametrize(
    "text", ["echo 5.36.0 x; exit 1", "true", "echo perl: warning: locale; echo 5.36.0 x", "exec sleep 60"]
)
def test_a_perl_that_does_not_run_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(module, "changeable_part", lambda _: None)
    monkeypatch.setattr(module, "RUN_SECONDS", 0.5)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    assert perl_key(str(program(tmp_path / "perl", text))) == ""
    assert perl_key("/opt/no/perl") == ""


@NEEDS_ROOT
def test_a_perl_runs_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "changeable_part", lambda _: None)
    for directory in (tmp_path, *tmp_path.parents[:-2]):
        directory.chmod(directory.stat().st_mode | 0o011)
    perl = program(tmp_path / "perl", 'echo "$(id -u) $(id -G)"')
    assert perl_key(str(perl)).partition("\n")[0] == "65534 65534"


def test_a_perl_that_others_may_change_is_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    perl = program(tmp_path / "perl", f"touch {ran}; echo 5.36.0 x")
    # The directory above is for everybody's temporary files.
    assert perl_key(str(perl)) == ""
    assert not ran.exists()
    with pytest.raises(AgentError, match=f"^{perl} is not used: others than root may change /tmp on this dr"):
        require_roots(str(perl))


@NEEDS_ROOT
@pytest.mark.parametrize(
    ("harm", "part"),
    [
        (lambda root: (root / "a/b/perl").chmod(0o777), "a/b/perl"),
        (lambda root: (root / "a/b").chmod(0o757), "a/b"),
        (lambda root: os.chown(root / "a", 65534, 0), "a"),
        (lambda root: group_may_write(root / "a"), "a"),
        (lambda root: os.chown(root / "link", 65534, 0, follow_symlinks=False), "link"),
        (lambda root: (root / "c").chmod(0o777), "c"),
    ],
)
def test_every_part_of_a_path_has_to_be_roots_own(
    monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None], part: str
) -> None:
    with tempfile.TemporaryDirectory(dir="/opt") as name:
        root = Path(name)
        for directory in ("a/b", "c"):
            (root / directory).mkdir(parents=True)
        program(root / "a/b/perl", "true")
        (root / "c/perl").symlink_to("../a/b/perl")
        (root / "link").symlink_to(root / "c")
        path = str(root / "link/perl")
        assert changeable_part(path) is None
        harm(root)
        assert changeable_part(path) == str(root / part)


def test_a_link_that_leads_in_a_circle_is_nobodys_perl() -> None:
    with tempfile.TemporaryDirectory(dir="/opt") as name:
        (Path(name) / "a").symlink_to("b")
        (Path(name) / "b").symlink_to("a")
        assert changeable_part(f"{name}/a") in (f"{name}/a", f"{name}/b")


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ((0, "http://mirror.example/\n"), "https://mirror.example/"),
        ((0, "https://mirror.example/cpan"), "https://mirror.example/cpan/"),
        ((0, "file:///srv\n"), ""),
        ((2, "Can't locate Carton/Mirror.pm in @INC\n"), ""),
        ((0, "http://a b\n"), ""),
        ((0, ""), ""),
    ],
)
def test_the_default_mirror_is_cartons_by_https(said: tuple[int, str], url: str) -> None:
    assert default_mirror(lambda *_: said) == url
