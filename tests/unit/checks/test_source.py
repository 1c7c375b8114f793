"""What a dry run reads of the revision that a deploy would build."""

from __future__ import annotations

import tarfile

import pytest

from bluegreen.checks import revision
from bluegreen.checks.facts import Source
from bluegreen.checks.gather.source import read_source
from tests.unit.facts import facts
from tests.unit.repositories import Repository, app_of

SMALL = {"app.psgi": "1;\n", "cpanfile": "requires 'X';\n", "cpanfile.snapshot": "# snapshot\n"}


NEEDED = "".join(f"{path} !export-ignore\n" for path in (*SMALL, "vendor", "vendor/**"))


def source_of(repository: Repository, files: dict[str, str]) -> Source:
    for name in files:
        (repository.path / name).parent.mkdir(parents=True, exist_ok=True)
    repository.commit(**files)
    return read_source(app_of(repository.url), "main")


def findings(source: Source) -> list[str]:
    return [f"{one.severity} {one.what}" for one in revision.files(facts(source=source))]


def test_the_files_of_a_revision_are_known(repository: Repository) -> None:
    source = source_of(repository, {**SMALL, "lib/Shop/Cart.pm": "1;\n", "odd\nname": ""})
    assert source.problem is None
    assert source.files == frozenset({*SMALL, "lib/Shop/Cart.pm", "odd\nname"})
    assert (source.cpanfile, source.snapshot) == (SMALL["cpanfile"], SMALL["cpanfile.snapshot"])
    assert findings(source) == []


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ("cpanfile.snapshot export-ignore\n", ["error .gitattributes keeps cpanfile.snapshot from"]),
        ("*.psgi export-ignore\n", ["error .gitattributes keeps app.psgi from the release"]),
        ("cpanfile export-ignore\n", ["error .gitattributes keeps cpanfile from the release"]),
        ("/vendor export-ignore\n", ["error .gitattributes keeps vendor/cache from the release"]),
        ("/vendor/cache/authors export-ignore\n", ["error .gitattributes keeps vendor/cache from the"]),
        ("*.txt export-ignore\n", []),
        (f"* export-ignore\n{NEEDED}", []),
        ("t export-ignore\n", []),
    ],
)
def test_what_gitattributes_keeps_out_of_a_release_is_named(
    repository: Repository, attributes: str, found: list[str]
) -> None:
    vendored = {"vendor/cache/authors/X.tar.gz": "", "vendor/read.txt": ""}
    source = source_of(repository, {**SMALL, **vendored, ".gitattributes": attributes})
    said = findings(source)
    assert [line[: len(start)] for line, start in zip(said, found, strict=True)] == found
    repository.git("archive", "--output=out.tar", "HEAD")
    with tarfile.open(repository.path / "out.tar") as archive:
        assert source.files == frozenset(one.name for one in archive if one.isfile())


def test_a_directory_that_is_kept_out_keeps_its_files_out(repository: Repository) -> None:
    vendored, attributes = "vendor/cache/authors/id/X.tar.gz", "vendor export-ignore\n"
    source = source_of(repository, {**SMALL, vendored: "", "vendor.txt": "", ".gitattributes": attributes})
    assert source.left_out == frozenset({vendored})
