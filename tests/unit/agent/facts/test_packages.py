"""Which Debian packages are missing, and which of them apt does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.facts import packages
from agent.system import CallDeadline

STATUS = "perl\t5.36.0-7\tinstall ok installed\nlibpq5\t15.8-0\tdeinstall ok config-files\n"
POLICY = """\
libpq5:
  Installed: (none)
  Candidate: 15.8-0
  Version table:
     15.8-0 500
        500 http://deb.example/debian bookworm/main amd64 Packages
libvirtual:
  Installed: (none)
  Candidate: (none)
  Version table:
"""


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A droplet with the lists of one source; yields the programs that were run."""
    asked: list[str] = []

    def run(_: Any, program: str, *arguments: str) -> tuple[int, str]:
        asked.append(program)
        return (1, STATUS) if program == "dpkg-query" else (0, POLICY)

    monkeypatch.setattr(packages, "run", run)
    monkeypatch.setattr(packages, "LISTS", tmp_path)
    (tmp_path / "deb.example_dists_bookworm_main_binary-amd64_Packages.lz4").touch()
    return asked


def found(*wanted: str) -> tuple[list[str], list[str]]:
    said = packages.packages(CallDeadline("facts", 10), wanted)
    return said["missing_packages"], said["unknown_packages"]


def test_an_app_that_needs_no_packages_asks_for_none(droplet: list[str]) -> None:
    assert (found(), droplet) == (([], []), [])


def test_packages_that_are_installed_are_not_looked_for(droplet: list[str]) -> None:
    assert (found("perl"), droplet) == (([], []), ["dpkg-query"])


def test_versions_are_those_of_packages_that_are_installed(droplet: list[str]) -> None:
    said = packages.packages(CallDeadline("facts", 10), ["perl", "libpq5", "nonesuch"])
    assert said["package_versions"] == {"perl": "5.36.0-7"}


def test_a_package_that_was_removed_is_missing(droplet: list[str]) -> None:
    assert found("perl", "libpq5") == (["libpq5"], [])


def test_a_package_that_apt_cannot_install_is_unknown(droplet: list[str]) -> None:
    wanted = ("libpq5", "libvirtual", "nonesuch")
    assert found(*wanted) == (list(wanted), ["libvirtual", "nonesuch"])


def test_without_lists_no_package_is_called_unknown(droplet: list[str], tmp_path: Path) -> None:
    next(tmp_path.iterdir()).unlink()
    assert found("nonesuch") == (["nonesuch"], [])
