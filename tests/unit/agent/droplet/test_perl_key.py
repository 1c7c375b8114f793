"""What compiled modules depend on is named in two lines, and a mirror is asked by https."""

from __future__ import annotations

import subprocess

import pytest

from agent.droplet.mirrors import default_mirror
from agent.droplet.perl_key import perl_key


def run(*words: str) -> tuple[int, str]:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return 127, ""
    return done.returncode, done.stdout


def test_a_perl_is_named_with_its_architecture_and_the_c_library() -> None:
    version = run("perl", "-e", "printf '%vd', $^V")[1]
    perl, libc = perl_key("perl", run).split("\n")
    assert perl.split()[0] == version
    assert libc == run("getconf", "GNU_LIBC_VERSION")[1].strip()


@pytest.mark.parametrize(
    "said", [(1, "5.36.0 x"), (0, ""), (0, "perl: warning: locale\n5.36.0 x"), (127, "perl is not installed")]
)
def test_a_perl_that_does_not_run_has_no_name(said: tuple[int, str]) -> None:
    assert perl_key("/opt/perl", lambda *_: said) == ""
    assert perl_key("/opt/no/perl", run) == ""


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
