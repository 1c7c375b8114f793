"""Files and shared directories of an app: none may be in the way of another one, or of the app."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError
from tests.unit.app_settings import settings_of

TEMPLATE = "content_from: {template: t}"


@pytest.mark.parametrize(
    "more", ["shared: [backend/local/var]\n", f"files: [{{path: backend/local/x, {TEMPLATE}}}]\n"]
)
def test_nothing_leads_out_of_the_dependencies_which_other_releases_share(tmp_path: Path, more: str) -> None:
    with pytest.raises(
        SettingsError, match="is below backend/local, which has the dependencies; choose another"
    ):
        settings_of(tmp_path, server="root: backend", more=more)


def test_delivered_files_and_shared_directories_are_links_in_the_release(tmp_path: Path) -> None:
    app = settings_of(
        tmp_path,
        connections="environment: shop_secrets",
        more=f"""
files:
  - {{path: config/db.yaml, {TEMPLATE}}}
  - {{path: lib/DBDefs.pm, {TEMPLATE}}}
  - {{path: /etc/app-shop/tls.pem, content_from: {{connection: tls.pem}}, mode: "0440"}}
shared: [public/uploads, var/tmp]
""",
    )
    assert app.links == {
        "config/db.yaml": "/etc/app-shop/config/db.yaml",
        "lib/DBDefs.pm": "/etc/app-shop/lib/DBDefs.pm",
        "public/uploads": "/var/lib/app-shop/shared/public/uploads",
        "var/tmp": "/var/lib/app-shop/shared/var/tmp",
    }
    assert [file.mode_bits for file in app.files] == [0o640, 0o640, 0o440]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("path: config/db.yaml", "files.0.content_from: is required and missing"),
        (
            "path: a, content_from: {}",
            "files.0.content_from: found {}: exactly one of template and connection",
        ),
        (
            "path: a, content_from: {template: t, connection: c}",
            "exactly one of template and connection is needed",
        ),
        (
            "path: a, content_from: {file: t}",
            "files.0.content_from.file: unknown key; allowed here are connection",
        ),
        (
            "path: a, content_from: {template: ../t}",
            "content_from.template: found '../t': allowed are relative",
        ),
        (
            "path: a, content_from: {connection: c}",
            "content of a is in a connection; connections.environment has to",
        ),
        *(
            (f"path: '{path}', {TEMPLATE}", f"files.0.path: found '{path}': allowed are relative paths")
            for path in ("../a", "a/../../b", "a//b", "/", "a/", "~/a", "a b", "-a", "./a")
        ),
        *(
            (
                f"path: {path}, {TEMPLATE}",
                f"files: found '{path}'; allowed is a path in the release, or one below",
            )
            for path in ("/etc/passwd", "/etc/app-shopping/a", "/etc/app-shop")
        ),
        *(
            (f"path: a, {TEMPLATE}, mode: {mode}", "Input should be '0440', '0640', '0550' or '0750'")
            for mode in ("0640", "'0644'", "'0660'", "'4750'", "'640'", "rw-r-----")
        ),
        (
            f"path: app.psgi, {TEMPLATE}",
            "files: app.psgi would replace app.psgi, which the app is started from",
        ),
        (f"path: lib, {TEMPLATE}", "files: lib would replace lib, which the app is started from"),
        (f"path: .bluegreen/manifest, {TEMPLATE}", "files: .bluegreen/manifest: .bluegreen is reserved"),
        (f"path: REVISION, {TEMPLATE}", "files: REVISION: REVISION is reserved; choose another path"),
    ],
)
def test_a_file_that_could_not_be_delivered_is_refused(tmp_path: Path, written: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)):
        settings_of(tmp_path, more=f"files: [{{{written}}}]\n")


@pytest.mark.parametrize(
    ("files", "shared", "expected"),
    [
        (["a", "a"], [], "files: a and files: a are the same path"),
        (["a", "/etc/app-shop/a"], [], "files: a and files: /etc/app-shop/a are the same path"),
        (["a", "a/b"], [], "files: a and files: a/b: one of them contains the other"),
        (["a/b"], ["a"], "files: a/b and shared: a: one of them contains the other"),
        (["a"], ["a/b"], "files: a and shared: a/b: one of them contains the other"),
        ([], ["a", "b", "a"], "shared: a and shared: a are the same path"),
        ([], ["a/b/c", "a/b"], "shared: a/b/c and shared: a/b: one of them contains the other"),
        ([], ["local"], "shared: local would replace local, which the app is started from"),
        ([], [".git/x"], "shared: .git/x: .git is reserved"),
        ([], ["../a"], "shared.0: found '../a': allowed are relative paths"),
        ([], ["/var/a"], "shared.0: found '/var/a': allowed are relative paths"),
    ],
)
def test_paths_that_are_in_each_others_way_are_refused(
    tmp_path: Path, files: list[str], shared: list[str], expected: str
) -> None:
    entries = ", ".join(f"{{path: {path}, {TEMPLATE}}}" for path in files)
    with pytest.raises(SettingsError, match=re.escape(expected)):
        settings_of(tmp_path, more=f"files: [{entries}]\nshared: [{', '.join(shared)}]\n")


def test_paths_that_begin_alike_are_not_in_each_others_way(tmp_path: Path) -> None:
    app = settings_of(
        tmp_path, more=f"files: [{{path: lib/Config.pm, {TEMPLATE}}}]\nshared: [log, logs, library]\n"
    )
    assert len(app.links) == 4


def test_an_app_in_a_subdirectory_keeps_what_it_is_started_from(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"shared: api would replace api/app\.psgi"):
        settings_of(tmp_path, "root: api", more="shared: [api]\n")
    assert settings_of(tmp_path, "root: api", more="shared: [lib]\n").shared == ["lib"]
