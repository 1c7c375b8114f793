"""What CI has built counts only if the app's file allows it, and if it is what it claims to be."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import pytest

from agent.droplet import building
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks import incoming_artifacts
from bluegreen.hooks.incoming_artifacts import IncomingArtifacts, require_perl, require_revision
from bluegreen.hooks.store_errors import StoreError
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from tests.unit.artifacts import PERL, record
from tests.unit.ci_artifacts import allowing, packed, put, with_perl
from tests.unit.runs import APP, REVISION


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    with_perl(monkeypatch)


def store_of(tmp_path: Path, app: App | None = None) -> IncomingArtifacts:
    return IncomingArtifacts(app or allowing(), (tmp_path / "store").as_uri())


def looked_at(tmp_path: Path, sha256: str, app: App | None = None) -> Any:
    with store_of(tmp_path, app).incoming(sha256) as found:
        assert found.path.read_bytes() == (tmp_path / f"{sha256}.tar.gz").read_bytes()
        return found


@pytest.fixture
def sha256(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    digest = str(packed(tmp_path, capsys)["sha256"])
    put(tmp_path, store_of(tmp_path), digest)
    return digest


def test_an_artifact_says_of_which_revision_it_is(tmp_path: Path, sha256: str) -> None:
    found = looked_at(tmp_path, sha256)
    assert (found.manifest.revision, found.sha256) == (REVISION, sha256)
    assert found.size == (tmp_path / f"{sha256}.tar.gz").stat().st_size
    assert not found.path.exists()
    require_revision(found.manifest, REVISION)
    require_perl(found.manifest, PERL, "green-1")
    with pytest.raises(PolicyError, match=r"the artifact is of a{12}, not of b{12}"):
        require_revision(found.manifest, "b" * 40)
    with pytest.raises(BlueGreenError, match=r"was built for 5\.36\.0 .* glibc 2\.36, and green-1 has 5\.38"):
        require_perl(found.manifest, "5.38.2 x\nglibc 2.38", "green-1")


def test_without_the_setting_nothing_of_it_is_read(tmp_path: Path, sha256: str) -> None:
    with pytest.raises(PolicyError, match=r"may not be deployed \(setting policy\.artifacts: never\)"):
        looked_at(tmp_path, sha256, load_app(APP))


def test_an_artifact_that_ci_has_not_put_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"has no my_perl_app/incoming/c+\.tar\.gz; CI has to put"):
        looked_at(tmp_path, "c" * 64)


def test_what_the_store_has_kept_need_not_be_put_there_again(tmp_path: Path, sha256: str) -> None:
    store = store_of(tmp_path)
    found = looked_at(tmp_path, sha256)
    file = tmp_path / f"{sha256}.tar.gz"
    kept = record(digest=found.manifest.digest, sha256=sha256, size=found.size, app=store.app.id)
    store.put(kept, {}, file)
    store.remove(sha256)
    assert not [*tmp_path.glob("store/*/incoming/*")]
    assert looked_at(tmp_path, sha256).manifest == found.manifest
    store.remove(sha256)
    [place] = tmp_path.glob("store/*/*.tar.gz")
    place.write_bytes(b"x" * found.size)
    with pytest.raises(StoreError, match=r"is not the file that its name says"):
        looked_at(tmp_path, sha256)


def test_another_file_than_its_name_says_is_refused(tmp_path: Path, sha256: str) -> None:
    place = put(tmp_path, store_of(tmp_path), sha256)
    for content in (place.read_bytes() + b"x", place.read_bytes()[:-1], b"x"):
        place.write_bytes(content)
        with pytest.raises(StoreError, match="is not the file that its name says"):
            looked_at(tmp_path, sha256)


def test_an_artifact_has_a_bound(tmp_path: Path, sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_artifacts, "LARGEST_ARTIFACT", 10)
    with pytest.raises(StoreError, match="is larger than"):
        looked_at(tmp_path, sha256)


def test_another_apps_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = packed(tmp_path, capsys, app="other")["sha256"]
    put(tmp_path, store_of(tmp_path), digest)
    with pytest.raises(BlueGreenError, match="it is of app-other, not of app-my_perl_app"):
        looked_at(tmp_path, digest)


def test_what_a_build_would_have_added_is_demanded(
    tmp_path: Path, sha256: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BlueGreenError, match=r"log of the artifact is no link to /var/lib/app-my_perl_app/"):
        looked_at(tmp_path, sha256, allowing(shared=("log",)))
    newer = {name: data + b"#" for name, data in building.wrappers().items()}
    monkeypatch.setattr(incoming_artifacts, "wrappers", lambda: newer)
    with pytest.raises(BlueGreenError, match="was packed by another version of this project"):
        looked_at(tmp_path, sha256)


def test_an_artifact_whose_files_are_not_as_its_manifest_says_is_not_taken(
    tmp_path: Path, sha256: str
) -> None:
    """The store would have it under the name of the release, in place of what a build makes of it."""
    data = bytearray(gzip.decompress((tmp_path / f"{sha256}.tar.gz").read_bytes()))
    place = data.rindex(b"sub { [200")
    data[place : place + 3] = b"die"
    changed = gzip.compress(bytes(data), mtime=0)
    other = hashlib.sha256(changed).hexdigest()
    (tmp_path / f"{other}.tar.gz").write_bytes(changed)
    put(tmp_path, store_of(tmp_path), other)
    with pytest.raises(BlueGreenError, match=r"cannot be deployed: .* app\.psgi is not as its manifest says"):
        looked_at(tmp_path, other)
