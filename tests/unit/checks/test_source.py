"""What a dry run reads of the source that a deploy would build from."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.checks import revision
from bluegreen.checks.facts import Source
from bluegreen.checks.gather import source as reading
from bluegreen.checks.gather.source import read_source
from bluegreen.errors import BlueGreenError, PolicyError, RefError
from bluegreen.settings.app import App
from tests.unit.facts import facts
from tests.unit.fleets import V2
from tests.unit.my_app import app_with

SMALL = {"app.psgi": "1;\n", "cpanfile": "requires 'X';\n", "cpanfile.snapshot": "# snapshot\n"}


def packed(directory: Path, files: Mapping[str, str], links: Mapping[str, str]) -> Path:
    """Return the file of a source with these files and links."""
    path = directory / "source.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return path


class Forge:
    """A forge whose ``main`` has one source, or a reason why that cannot be fetched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.directory = directory
        self.refusal: BlueGreenError | None = None
        self.files: dict[str, str] = dict(SMALL)
        self.links: dict[str, str] = {}
        monkeypatch.setattr(reading, "repository_access", self._access)
        monkeypatch.setattr(reading, "resolve", lambda *_, access: SimpleNamespace(revision=V2))
        monkeypatch.setattr(reading, "with_source", self._with_source)

    @contextmanager
    def _access(self, _: App) -> Iterator[object]:
        yield object()

    @contextmanager
    def _with_source(self, _: App, revision: str) -> Iterator[Any]:
        if self.refusal is not None:
            raise self.refusal
        yield SimpleNamespace(path=packed(self.directory, self.files, self.links), revision=revision)

    def read(self, **settings: Any) -> Source:
        return read_source(app_with(**settings), "main")


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Forge:
    return Forge(monkeypatch, tmp_path)


def findings(source: Source, **settings: Any) -> list[str]:
    found = revision.files(facts(app=app_with(**settings), source=source))
    return [f"{one.severity} {one.subject}: {one.what}; {one.advice}" for one in found]


def test_the_files_of_a_source_are_known(forge: Forge) -> None:
    forge.files["lib/Shop/Cart.pm"] = "1;\n"
    forge.links = {"conf": "lib/Shop"}
    source = forge.read()
    assert (source.problem, source.revision) == (None, V2)
    assert source.files == frozenset({*SMALL, "lib/Shop/Cart.pm", "conf"})
    assert (source.cpanfile, source.snapshot) == (SMALL["cpanfile"], SMALL["cpanfile.snapshot"])
    assert source.links == {"conf": "lib/Shop"}
    assert findings(source) == []


def test_an_app_in_a_subdirectory_has_its_files_there(forge: Forge) -> None:
    forge.files = {f"backend/{name}": text for name, text in SMALL.items()} | {"README": ""}
    source = forge.read(server={"root": "backend"})
    assert source.app_files == frozenset(SMALL)
    assert source.snapshot == SMALL["cpanfile.snapshot"]
    assert findings(source, server={"root": "backend"}) == []


@pytest.mark.parametrize(
    ("settings", "missing", "said"),
    [
        ({}, "app.psgi", "error main: there is no app.psgi in it; commit it, or correct server.psgi"),
        (
            {"server": {"preset": "mojolicious", "script": "script/shop"}},
            "app.psgi",
            "error main: there is no script/shop in it; commit it, or correct server.script",
        ),
        (
            {"build": {"commands": [["make"]]}},
            "app.psgi",
            "warning main: there is no app.psgi in it; make sure that build.commands makes it, or correct "
            "server.psgi",
        ),
        (
            {},
            "cpanfile.snapshot",
            "error cpanfile.snapshot: it is missing in main; run carton install and commit it, or set "
            "dependencies.installer: cpanm",
        ),
    ],
)
def test_a_file_that_a_deploy_needs_is_named(
    forge: Forge, settings: dict[str, Any], missing: str, said: str
) -> None:
    del forge.files[missing]
    assert findings(forge.read(**settings), **settings) == [said]


def test_what_is_missing_in_a_subdirectory_is_named_with_the_setting(forge: Forge) -> None:
    [said] = findings(forge.read(server={"root": "backend"}), server={"root": "backend"})
    assert said.startswith("error main: there is no app.psgi in it below backend (server.root);")


def test_a_dist_ini_alone_is_refused_as_a_build_refuses_it(forge: Forge) -> None:
    settings = {"dependencies": {"installer": "cpanm"}}
    forge.files = {"app.psgi": "1;\n", "dist.ini": "name = Shop\n"}
    [said] = findings(forge.read(), **settings)
    assert said.startswith("error dist.ini: in main it is for Dist::Zilla, which droplets do not have;")
    forge.files["META.json"] = "{}"
    assert findings(forge.read(), **settings) == []


@pytest.mark.parametrize("installer", ["cpanm", "none"])
def test_only_carton_needs_a_snapshot(forge: Forge, installer: str) -> None:
    del forge.files["cpanfile.snapshot"]
    settings = {"dependencies": {"installer": installer}}
    assert findings(forge.read(**settings), **settings) == []


def test_without_a_cpanfile_nothing_is_installed(forge: Forge) -> None:
    del forge.files["cpanfile"], forge.files["cpanfile.snapshot"]
    assert findings(forge.read()) == []


@pytest.mark.parametrize(
    "refusal",
    [
        RefError(".gitattributes keeps cpanfile.snapshot from the release"),
        RefError("lib/other is a submodule, and its repository cannot be read"),
        PolicyError("assets/logo.png is kept by Git LFS, which is not installed"),
    ],
)
def test_a_source_that_cannot_be_fetched_is_an_error_in_the_words_of_a_deploy(
    forge: Forge, refusal: BlueGreenError
) -> None:
    forge.refusal = refusal
    [found] = revision.ref(facts(source=forge.read()))
    assert (found.severity, found.subject, found.what) == ("error", "main", str(refusal))


def test_a_text_that_is_larger_than_any_genuine_one_is_refused(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST_TEXT", 5)
    assert forge.read().problem == "cpanfile has 14 bytes, and may have 5"


def test_the_texts_of_templates_are_read(forge: Forge) -> None:
    forge.files["config/db.yaml.template"] = "host: {{ DB_HOST }}\n"
    files = [{"path": "config/db.yaml", "content_from": {"template": "config/db.yaml.template"}}]
    source = forge.read(files=files)
    assert source.templates == {"config/db.yaml.template": "host: {{ DB_HOST }}\n"}


def test_a_template_that_is_missing_is_an_error(forge: Forge) -> None:
    files = [{"path": "config/db.yaml", "content_from": {"template": "no/such"}}]
    source = forge.read(files=files)
    assert isinstance(source.templates, BlueGreenError)
    [found] = revision.configuration(facts(source=source, configuration=source.templates))
    assert found.severity == "error"
    assert "no/such" in found.what
