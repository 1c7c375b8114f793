"""What a deploy needs from a repository."""

from __future__ import annotations

import pytest

from bluegreen.errors import RefError
from bluegreen.settings.app import App
from bluegreen.settings.build import DependencySettings, Installer
from bluegreen.settings.delivered_files import ContentFrom, DeliveredFile
from bluegreen.settings.server import ServerSettings
from bluegreen.source.archive import Source, write_source
from bluegreen.source.needed import needed_of
from tests.unit.local_forge import Forge
from tests.unit.repositories import Repository, app_of


def app_with(**sections: object) -> App:
    return app_of("https://forge.example/shop.git").model_copy(update=sections)


def test_the_app_its_modules_and_its_dependency_files_are_needed_below_its_root() -> None:
    needed = needed_of(app_with(server=ServerSettings(root="backend", lib=["lib", "local/lib"])))
    assert {"backend/app.psgi", "backend/lib", "backend/cpanfile.snapshot"} < {*needed.paths}
    assert needed.whole == ("backend/vendor/cache",)
    assert not any(not path.startswith("backend/") for path in needed.paths)


def test_without_an_installer_dependency_files_are_not_needed() -> None:
    needed = needed_of(app_with(dependencies=DependencySettings(installer=Installer.NONE)))
    assert "app.psgi" in needed.paths
    assert "cpanfile" not in needed.paths
    assert needed.whole == ()


def test_templates_of_delivered_files_are_needed() -> None:
    file = DeliveredFile(path="shop.conf", content_from=ContentFrom(template="deploy/shop.conf.in"))
    assert "deploy/shop.conf.in" in needed_of(app_with(files=[file])).paths


BESIDE = {"psgi": "backend/app.psgi"}


def write(shop: Repository, forge: Forge, revision: str, installer: str, **server: object) -> Source:
    """Write the source of a revision for an app with these settings."""
    dependencies = DependencySettings(installer=Installer(installer))
    app = app_with(server=ServerSettings.model_validate(server), dependencies=dependencies)
    return write_source(
        f"{forge.url}/shop.git", revision, shop.path.parent / "source.tar.gz", needed=needed_of(app)
    )


@pytest.mark.parametrize(
    ("installer", "file", "server", "found_by"),
    [
        ("carton", "backend/cpanfile", BESIDE, "backend and server.psgi: app.psgi"),
        ("cpanm", "backend/META.json", {"psgi": "backend/bin/a.psgi"}, "backend and server.psgi: bin/a.psgi"),
        (
            "carton",
            "src/api/cpanfile",
            {"root": "src", "preset": "mojolicious", "script": "api/script/shop"},
            "src/api and server.script: script/shop",
        ),
    ],
)
@pytest.mark.usefixtures("cache")
def test_dependencies_that_no_installer_looks_for_are_named_with_the_setting_that_finds_them(
    shop: Repository, local: Forge, installer: str, file: str, server: dict[str, object], found_by: str
) -> None:
    head = shop.commit(**{file: "requires 'Plack';\n", "src/README": ""})
    with pytest.raises(RefError) as refused:
        write(shop, local, head, installer, **server)
    assert str(refused.value) == (
        f"{file} of {head[:12]} would not be used, because server.root is {server.get('root', '.')}; set "
        f"server.root: {found_by}, or dependencies.installer: none"
    )


@pytest.mark.parametrize(
    ("installer", "files", "server"),
    [
        ("carton", ["backend/cpanfile", "cpanfile"], BESIDE),
        ("cpanm", ["backend/cpanfile", "META.json"], BESIDE),
        ("none", ["backend/cpanfile"], BESIDE),
        ("carton", ["tools/cpanfile"], BESIDE),
        ("carton", ["backend/cpanfile"], {"root": "backend"}),
        ("carton", ["backend/Makefile.PL"], BESIDE),
    ],
)
@pytest.mark.usefixtures("cache")
def test_dependencies_that_are_used_or_are_of_something_else_are_no_reason_to_refuse(
    shop: Repository, local: Forge, installer: str, files: list[str], server: dict[str, object]
) -> None:
    head = shop.commit(**{**dict.fromkeys(files, "x"), "backend/app.psgi": "1"})
    assert write(shop, local, head, installer, **server).files == len(files) + 1
