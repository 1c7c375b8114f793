"""What a deploy needs from a repository."""

from __future__ import annotations

from bluegreen.settings.app import App
from bluegreen.settings.build import DependencySettings, Installer
from bluegreen.settings.delivered_files import ContentFrom, DeliveredFile
from bluegreen.settings.server import ServerSettings
from bluegreen.source.needed import needed_paths
from tests.unit.repositories import app_of


def app_with(**sections: object) -> App:
    return app_of("https://forge.example/shop.git").model_copy(update=sections)


def test_the_app_its_modules_and_its_dependency_files_are_needed_below_its_root() -> None:
    needed = needed_paths(app_with(server=ServerSettings(root="backend", lib=["lib", "local/lib"])))
    assert {"backend/app.psgi", "backend/lib", "backend/cpanfile.snapshot", "backend/vendor/cache"} < {
        *needed
    }
    assert not any(not path.startswith("backend/") for path in needed)


def test_without_an_installer_dependency_files_are_not_needed() -> None:
    needed = needed_paths(app_with(dependencies=DependencySettings(installer=Installer.NONE)))
    assert "app.psgi" in needed
    assert "cpanfile" not in needed


def test_templates_of_delivered_files_are_needed() -> None:
    file = DeliveredFile(path="shop.conf", content_from=ContentFrom(template="deploy/shop.conf.in"))
    assert "deploy/shop.conf.in" in needed_paths(app_with(files=[file]))
