"""Debian packages that are missing are installed, and apt's own line says why they cannot be."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from agent.droplet import packages
from agent.droplet.packages import install_packages
from agent.protocol import AgentError

LOCKED = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)"
DPKG_QUERY = """#!/bin/sh
shift 3
for name; do
    [ ! -e "$0.installed/$name" ] || echo "$name install ok installed"
    [ ! -e "$0.removed/$name" ] || echo "$name deinstall ok config-files"
done
"""
# Each line of `outcomes` is what one run of apt-get prints; it fails unless the line is empty.
APT_GET = """#!/bin/sh
echo "$@" >>"${0%/*}/asked"
outcome=$(head -n 1 "$0.outcomes")
sed -i 1d "$0.outcomes"
[ -n "$outcome" ] && { echo "Reading package lists..."; echo "$outcome"; exit 100; }
exit 0
"""
# The same for dpkg.
DPKG = APT_GET.replace("exit 100", "exit 2")
APT_CACHE = '#!/bin/sh\nshift 3\n[ "$1" = python3.11 ]\n'


class Apt:
    """The packages of a machine, and apt."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name, text in (
            ("dpkg-query", DPKG_QUERY),
            ("apt-get", APT_GET),
            ("dpkg", DPKG),
            ("apt-cache", APT_CACHE),
        ):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
        for name in ("installed", "removed"):
            (directory / f"dpkg-query.{name}").mkdir()
        self.outcomes()

    def outcomes(self, *lines: str, dpkg: tuple[str, ...] = ()) -> None:
        for program, outcomes in (("apt-get", lines), ("dpkg", dpkg)):
            (self.directory / f"{program}.outcomes").write_text("".join(f"{line}\n" for line in outcomes))

    def has(self, name: str, state: str = "installed") -> None:
        (self.directory / f"dpkg-query.{state}" / name).touch()

    @property
    def asked(self) -> list[str]:
        path = self.directory / "asked"
        lines = path.read_text().splitlines() if path.exists() else []
        return [re.sub(".*Use-Pty=0 |--force-conf(def|old) ", "", line) for line in lines]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(packages, "_PAUSE", 0.01)
    return Apt(tmp_path)


def refused(*names: str) -> str:
    with pytest.raises(AgentError) as error:
        install_packages(names)
    return str(error.value)


INSTALL = "install --no-install-recommends -- libpq5"


def test_only_what_is_missing_is_installed(apt: Apt) -> None:
    install_packages([])
    apt.has("perl")
    install_packages(["perl"])
    assert apt.asked == []
    apt.has("libpq5", "removed")
    install_packages(["perl", "libpq5"])
    assert apt.asked == [INSTALL]


def test_another_run_of_apt_is_waited_for(apt: Apt) -> None:
    apt.outcomes(LOCKED, LOCKED, "")
    install_packages(["libpq5"])
    assert apt.asked == [INSTALL] * 3


def test_each_run_of_apt_waits_for_others_however_long_the_one_before_took(
    apt: Apt, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0, packages.LOCK_SECONDS / 2)
    monkeypatch.setattr(packages, "since_boot", lambda: next(clock))
    apt.outcomes(INTERRUPTED, LOCKED, "", LOCKED, "", LOCKED, "")
    install_packages(["libpq5"])
    assert apt.asked == [INSTALL, REPAIR[0], *[REPAIR[1]] * 2, "update", "update", INSTALL, INSTALL]


def test_the_wait_has_an_end(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "LOCK_SECONDS", 0.0)
    apt.outcomes(*[LOCKED] * 100)
    assert refused("libpq5") == f"cannot install the Debian packages libpq5: {LOCKED}"
    assert len(apt.asked) < 10


def test_lists_that_are_too_old_are_fetched_anew(apt: Apt) -> None:
    apt.outcomes("E: Unable to locate package libpq5", "", "")
    install_packages(["libpq5"])
    assert apt.asked == [INSTALL, "update", INSTALL]


INTERRUPTED = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. "
BROKEN = "E: Unmet dependencies. Try 'apt --fix-broken install' with no packages (or specify a solution)."
REPAIR = ["--configure -a", "--fix-broken --no-remove install"]
DPKG_LOCKED = "dpkg: error: dpkg frontend lock was locked by another process with pid 812"


@pytest.mark.parametrize("said", [INTERRUPTED, BROKEN])
def test_an_installation_that_was_killed_is_brought_to_its_end(apt: Apt, said: str) -> None:
    apt.outcomes(said)
    install_packages(["libpq5"])
    assert apt.asked == [INSTALL, *REPAIR, "update", INSTALL]


def test_a_repair_waits_for_another_run_of_apt_and_goes_on_where_dpkg_alone_cannot(apt: Apt) -> None:
    apt.outcomes(INTERRUPTED, LOCKED, "", dpkg=(DPKG_LOCKED, "dpkg: dependency problems"))
    install_packages(["libpq5"])
    assert apt.asked == [INSTALL, REPAIR[0], REPAIR[0], REPAIR[1], REPAIR[1], "update", INSTALL]


def test_a_repair_that_fails_is_one_line_with_what_to_do(apt: Apt) -> None:
    apt.outcomes(INTERRUPTED, "E: Sub-process /usr/bin/dpkg returned an error code (1)")
    assert refused("libpq5") == (
        "an earlier installation of Debian packages was interrupted on this droplet, and cannot be brought "
        "to its end: E: Sub-process /usr/bin/dpkg returned an error code (1); run dpkg --configure -a there"
    )


def test_apts_own_line_is_the_cause(apt: Apt) -> None:
    apt.outcomes(*["E: Unable to locate package libpq5"] * 3)
    assert refused("libpq5") == (
        "cannot install the Debian packages libpq5: E: Unable to locate package libpq5"
    )


@pytest.mark.parametrize(
    "name", ["", "-x", "--purge", "perl-", "perl/sid", "perl=1", "Perl", "a b", "*", "perl\n"]
)
def test_what_is_no_package_is_not_given_to_apt(apt: Apt, name: str) -> None:
    assert "is no name of a Debian package" in refused(name)
    assert apt.asked == []


def test_a_name_with_a_dot_is_no_pattern(apt: Apt) -> None:
    assert refused("lib.*") == "packages: 'lib.*' is no name of a Debian package"
    assert refused("lib.") == "there is no Debian package lib."
    install_packages(["python3.11"])
    assert apt.asked == ["install --no-install-recommends -- python3.11"]
