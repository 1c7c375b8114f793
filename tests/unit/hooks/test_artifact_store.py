"""What a build has made is kept, taken by its key, and never mistaken for something else."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.io import attach
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from agent.release_name import release_name
from bluegreen.errors import SettingsError
from bluegreen.hooks import artifact_store
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.store_errors import StoreError
from bluegreen.release.artifact import ArtifactRecord, artifact_key
from bluegreen.run.seal import sealed
from bluegreen.settings.app_file import load_app

APP = "my_perl_app"
REVISION = "a" * 40
CONTENT = b"an artifact" * 200_000
KEY = "c" * 64
TEXTS = {"config/db.yaml": "password: {{ DB_PASSWORD }}\n"}


def record(digit: str = "1", **changes: Any) -> ArtifactRecord:
    known = {
        **{"app": APP, "digest": digit * 64, "revision": REVISION, "key": KEY, "built_at": 1.0},
        **{"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT), "run": "deploy/one"},
        **{"builder": 1, "dependencies": None},
    }
    return ArtifactRecord(**{**known, **changes})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "artifact"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    # In place of an object store, which Airflow would reach by a connection.
    MemoryFileSystem.store.clear()
    attach("memory", fs=MemoryFileSystem())
    root = (tmp_path / "store").as_uri() if request.param == "local" else "memory://bucket/artifacts"
    return ArtifactStore(load_app(APP), root)


@pytest.fixture
def local(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(load_app(APP), (tmp_path / "store").as_uri())


def names(tmp_path: Path) -> set[str]:
    root = tmp_path / "store" / APP
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_was_built_is_found_by_its_key_and_is_what_it_was(store: ArtifactStore, file: Path) -> None:
    assert store.built(KEY) is None
    assert store.put(record(), TEXTS, file) == record()
    built = store.built(KEY)
    assert built is not None
    assert (built.record, built.texts) == (record(), TEXTS)
    store.verify(record())
    with store.fetched(record().file) as path:
        assert path.read_bytes() == CONTENT
    assert store.built("d" * 64) is None


def test_by_default_it_is_a_directory_of_airflows_user_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path
) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    ArtifactStore.of(load_app(APP)).put(record(), {}, file)
    for directory in ("artifacts", f"artifacts/{APP}", f"artifacts/{APP}/by_key"):
        assert stat.S_IMODE((tmp_path / "cache" / directory).stat().st_mode) == 0o700


def test_by_default_there_is_none_where_workers_do_not_share_a_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("BLUEGREEN_CACHE_IS_SHARED", "False")
    app = load_app(APP)
    with pytest.raises(StoreError, match=r"may run on several.*set artifacts\.store to an object store"):
        ArtifactStore.of(app)
    # A directory that the app file names is one that every worker has.
    mounted = app.artifacts.model_copy(update={"store": str(tmp_path / "mounted")})
    ArtifactStore.of(app.model_copy(update={"artifacts": mounted})).check()
    monkeypatch.setenv("BLUEGREEN_CACHE_IS_SHARED", "True")
    ArtifactStore.of(app).check()


def test_workers_of_another_executor_share_a_cache_only_if_somebody_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BLUEGREEN_CACHE_DIR", str(tmp_path))
    ArtifactStore.of(load_app(APP)).check()
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with pytest.raises(StoreError, match=r"\(CeleryExecutor\).*BLUEGREEN_CACHE_IS_SHARED=True"):
        ArtifactStore.of(load_app(APP))
    monkeypatch.setenv("BLUEGREEN_CACHE_IS_SHARED", "True")
    ArtifactStore.of(load_app(APP)).check()


def test_a_worker_with_another_local_store_names_the_setting(local: ArtifactStore) -> None:
    with pytest.raises(StoreError) as raised, local.fetched(record().file):
        pass
    said = str(raised.value)
    assert "\n" not in said
    assert f"has no {APP}/{'1' * 64}.tar.gz" in said
    assert "another worker may have put it into a store of its own" in said
    assert "artifacts.store" in said


def test_an_object_store_without_its_provider_is_one_line_that_names_it() -> None:
    with pytest.raises(StoreError, match=r"apache-airflow-providers-amazon\[s3fs\]") as raised:
        ArtifactStore(load_app(APP), "s3://spaces@bucket/artifacts")
    assert "\n" not in str(raised.value)


def test_an_artifact_that_was_changed_is_refused_and_the_store_is_named(
    store: ArtifactStore, file: Path
) -> None:
    store.put(record(), {}, file)
    for changed in (CONTENT[:-1] + b"X", CONTENT[:-1], CONTENT + b"x"):
        with store._open(f"{'1' * 64}.tar.gz", "wb") as target:
            target.write(changed)
        with pytest.raises(StoreError, match=r"the artifact store .*: my_perl_app/1+\.tar\.gz is not what"):
            store.verify(record())


def test_a_changed_size_is_noticed_before_anything_is_sent(store: ArtifactStore, file: Path) -> None:
    store.put(record(), {}, file)
    with store._open(f"{'1' * 64}.tar.gz", "wb") as target:
        target.write(b"short")
    with pytest.raises(StoreError, match="is not what a build has put there"), store.fetched(record().file):
        pass


FORGED = {"app": APP, "key": KEY, "digest": "2" * 64, "texts": {}}


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"not JSON",
        b"[]",
        json.dumps({**FORGED, "kind": "KeyEntry"}).encode(),
        json.dumps(sealed(b"another key", {**FORGED, "kind": "KeyEntry"})).encode(),
        # A seal of the right key, on a statement between two tasks, or of another app or key.
        json.dumps(sealed(b"a key", FORGED)).encode(),
        json.dumps(sealed(b"a key", {**FORGED, "kind": "ArtifactRecord"})).encode(),
        json.dumps(sealed(b"a key", {**FORGED, "kind": "KeyEntry", "app": "other"})).encode(),
        json.dumps(sealed(b"a key", {**FORGED, "kind": "KeyEntry", "key": "d" * 64})).encode(),
        json.dumps(sealed(b"a key", {**FORGED, "kind": "KeyEntry", "digest": "../../etc"})).encode(),
    ],
)
def test_a_record_that_no_build_has_sealed_is_not_used(
    store: ArtifactStore, file: Path, forged: bytes
) -> None:
    store.put(record(), {}, file)
    store.put(record("2", key="e" * 64), {}, file)
    with store._open(f"by_key/{KEY}.json", "wb") as target:
        target.write(forged)
    assert store.built(KEY) is None


def test_with_another_seal_everything_is_built_again_and_then_as_before(
    store: ArtifactStore, file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store.put(record(), TEXTS, file)
    store.put(record("2", key="e" * 64), {}, file)
    monkeypatch.setattr(artifact_store, "sealing_key", lambda _: b"another key")
    assert store.built(KEY) is None
    [line] = capfd.readouterr().out.splitlines()
    assert "has no valid seal, so it is not used: connections.seal had another password" in line
    # What nobody uses any more makes room first.
    store.put(record("3", key="f" * 64, built_at=2.0), {}, file)
    store.prune(2, [])
    store.put(record(), TEXTS, file)
    built = store.built(KEY)
    assert built is not None
    assert built.record == record()
    store.verify(record())
    assert store.built("f" * 64) is not None


def test_an_artifact_that_is_gone_is_built_again(store: ArtifactStore, file: Path) -> None:
    store.put(record(), {}, file)
    store._remove([f"{'1' * 64}.tar.gz"])
    assert store.built(KEY) is None


def test_the_same_artifact_again_stays_as_it_is_and_is_found_by_both_keys(
    store: ArtifactStore, file: Path
) -> None:
    """Another compression may have made other bytes of the same release."""
    store.put(record(), {}, file)
    file.write_bytes(b"other bytes")
    again = record(key="d" * 64, size=11, sha256=hashlib.sha256(b"other bytes").hexdigest())
    kept = store.put(again, {}, file)
    assert (kept.sha256, kept.key) == (record().sha256, "d" * 64)
    store.verify(kept)
    for key in (KEY, "d" * 64):
        built = store.built(key)
        assert built is not None
        assert built.record.sha256 == record().sha256


def test_an_artifact_that_was_damaged_is_replaced_by_the_next_build(store: ArtifactStore, file: Path) -> None:
    store.put(record(), {}, file)
    with store._open(f"{'1' * 64}.tar.gz", "wb") as target:
        target.write(b"damaged")
    store.verify(store.put(record(), {}, file))


def test_a_write_that_breaks_off_leaves_nothing_that_counts(
    local: ArtifactStore, file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"the artifact store file:.* cannot be written: it is full"):
        local.put(record(), {}, file)
    assert names(tmp_path) == set()


def test_a_store_that_is_away_is_named_and_may_be_tried_again(
    local: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise ConnectionResetError("Connection reset by peer")

    monkeypatch.setattr(LocalFileSystem, "open", away)
    with pytest.raises(StoreError, match=r"cannot be read: Connection reset by peer") as raised:
        local.built(KEY)
    assert raised.value.transient
    assert "\n" not in str(raised.value)


def test_a_store_that_does_not_answer_is_given_up_and_the_lock_is_renewed_until_then(
    local: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[int] = []
    local._meanwhile = lambda: renewed.append(1)
    goes_on = threading.Event()
    monkeypatch.setattr(LocalFileSystem, "open", lambda *_, **__: goes_on.wait(30))
    monkeypatch.setattr(artifact_store, "PAUSE", 0.01)
    with pytest.raises(StoreError, match=r"it did not answer within 0 s"):
        local._bounded("cannot be read", lambda: local._open("x", "rb"), 0.4)
    goes_on.set()
    assert len(renewed) > 1


@pytest.mark.parametrize("what", ["check", "built", "put", "verify", "fetched", "prune"])
def test_nothing_waits_for_a_store_that_hangs(
    what: str, local: ArtifactStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a network file system does whose server is away; Airflow's object storage has no deadline."""
    local.put(record(), {}, file)
    goes_on = threading.Event()
    for place, name in (
        (LocalFileSystem, "open"),
        (LocalFileSystem, "ls"),
        (Path, "stat"),
        (Path, "exists"),
        (Path, "mkdir"),
    ):
        monkeypatch.setattr(place, name, lambda *_, **__: goes_on.wait(30))
    monkeypatch.setattr(artifact_store, "PAUSE", 0.01)
    monkeypatch.setattr(artifact_store, "SECONDS", 0.1)
    monkeypatch.setattr(artifact_store.ArtifactStore._bounded, "__defaults__", (0.1,))
    calls: dict[str, Callable[[], object]] = {
        "check": local.check,
        "built": lambda: local.built(KEY),
        "put": lambda: local.put(record(), {}, file),
        "verify": lambda: local.verify(record()),
        "fetched": lambda: ExitStack().enter_context(local.fetched(record().file)),
        "prune": lambda: local.prune(1, []),
    }
    with pytest.raises(StoreError, match="it did not answer within") as raised:
        calls[what]()
    goes_on.set()
    assert raised.value.transient


@pytest.mark.parametrize("root", ["nonsense://x", "s3://no-such-connection@bucket/x"])
def test_a_store_that_airflow_cannot_use_is_named(root: str) -> None:
    with pytest.raises(StoreError, match=r"the artifact store .* is not usable|cannot be read"):
        ArtifactStore(load_app(APP), root).built(KEY)


def test_a_bucket_that_is_missing_is_found_before_anything_is_built() -> None:
    MemoryFileSystem.store.clear()
    attach("memory", fs=MemoryFileSystem())
    store = ArtifactStore(load_app(APP), "memory://bucket/artifacts")
    with pytest.raises(StoreError, match=r"memory://bucket/artifacts cannot be read: there is no bucket"):
        store.check()
    MemoryFileSystem().mkdir("/bucket")
    store.check()


def test_without_its_connection_an_object_store_is_not_asked_anonymously() -> None:
    attach("memory", conn_id="spaces", fs=MemoryFileSystem())
    with pytest.raises(SettingsError, match="there is no Airflow connection 'spaces'"):
        ArtifactStore(load_app(APP), "memory://spaces@bucket/artifacts")


def test_a_check_writes_nothing_and_names_a_store_that_cannot_be_written(
    local: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.check()
    assert not (tmp_path / "store").exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StoreError, match="cannot be written: no permission"):
        local.check()


def test_the_newest_stay_and_those_that_droplets_run_or_go_back_to(store: ArtifactStore, file: Path) -> None:
    for number in range(1, 6):
        store.put(record(str(number), key=str(number) * 64, built_at=float(number)), {}, file)
    store.prune(2, [release_name(REVISION, "1" * 64), "not-a-release"])
    left = {number for number in range(1, 6) if store.built(str(number) * 64)}
    assert left == {1, 4, 5}
    archives = {name for name in store._names() if name.endswith(".tar.gz")}
    assert archives == {f"{str(number) * 64}.tar.gz" for number in left}
    assert len(store._names("by_key")) == 3


def test_what_a_killed_task_has_left_is_removed(local: ArtifactStore, file: Path, tmp_path: Path) -> None:
    local.put(record(), {}, file)
    before = names(tmp_path)
    for name in (f"{'2' * 64}.tar.gz", f"{'3' * 64}.tar.gz.partial.0", "notes.txt"):
        (tmp_path / "store" / APP / name).write_bytes(b"half")
    local.prune(1, [])
    assert names(tmp_path) == before | {"notes.txt"}


def test_the_key_is_of_everything_that_a_build_depends_on() -> None:
    app = load_app(APP)
    changed = [
        artifact_key(app, "b" * 40, "perl"),
        artifact_key(app, REVISION, "another perl"),
        artifact_key(
            app.model_copy(update={"build": app.build.model_copy(update={"network": True})}), REVISION, "perl"
        ),
        artifact_key(
            app.model_copy(update={"server": app.server.model_copy(update={"perl": "/opt/perl"})}),
            REVISION,
            "perl",
        ),
        artifact_key(app.model_copy(update={"shared": ("log",)}), REVISION, "perl"),
    ]
    base = artifact_key(app, REVISION, "perl")
    assert len({base, *changed}) == 1 + len(changed)
    # What only concerns how a release runs needs no other build.
    for same in ({"environment": {"A": "1"}}, {"server": app.server.model_copy(update={"workers": 3})}):
        assert artifact_key(app.model_copy(update=same), REVISION, "perl") == base


def test_an_artifact_is_found_by_the_name_of_its_release(store: ArtifactStore, file: Path) -> None:
    release = record().release
    assert store.find(release) is None
    store.put(record(), TEXTS, file)
    store.put(record("2", key="e" * 64), {}, file)
    found = store.find(release)
    assert found is not None
    assert (found.record, found.texts) == (record(), TEXTS)
    # Another revision with the same digits, and an artifact without its bytes.
    assert store.find(release_name("b" * 40, "1" * 64)) is None
    store._remove([f"{'1' * 64}.tar.gz"])
    assert store.find(release) is None
