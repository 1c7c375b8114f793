"""A manifest names every byte of a release: what differs is named, and what cannot be one is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.droplet import manifest as manifests
from agent.droplet.manifest import PLACE, differences, first_difference, parse, scan, verify
from agent.protocol import AgentError
from agent.system import since_boot
from tests.unit.agent.droplet.built_release import APP, LONG, REVISION, BuiltRelease, build_release


@pytest.fixture
def release(tmp_path: Path) -> BuiltRelease:
    directory = tmp_path / "release"
    directory.mkdir()
    return build_release(directory)


def test_a_manifest_is_the_format_that_is_written_down(release: BuiltRelease) -> None:
    first, *lines = (release.directory / PLACE).read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {
        "format": 1,
        "app": APP,
        "revision": REVISION,
        "committed": 1_700_000_000,
        "perl": "5.36.0 x86_64\nglibc 2.36",
    }
    entries = [json.loads(line) for line in lines]
    assert [entry[1] for entry in entries] == sorted(entry[1] for entry in entries)
    assert ["d", "tmp"] in entries
    assert ["l", "share/up", "../app.psgi"] in entries
    assert ["f", "bin/run", hashlib.sha256(b"#!/bin/sh\n").hexdigest(), 10, True] in entries
    assert PLACE not in [entry[1] for entry in entries]


def test_what_is_written_is_read(release: BuiltRelease) -> None:
    data = (release.directory / PLACE).read_bytes()
    manifest = parse(data, APP)
    assert manifest == release.manifest
    assert manifest.digest == hashlib.sha256(data).hexdigest()
    assert manifest.release == f"{REVISION}-{manifest.digest[:16]}"


def test_a_release_that_is_as_it_was_built_has_no_difference(release: BuiltRelease) -> None:
    assert first_difference(release.directory, APP, release.digest) is None
    assert first_difference(release.directory, APP, release.digest[:16]) is None
    assert verify(release.directory, APP, release.digest) == release.manifest


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"#")


def _other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes().swapcase())


def _relink(path: Path) -> None:
    target = path.readlink()
    path.unlink()
    path.symlink_to(f"{target}x")


def _to_link(path: Path) -> None:
    moved = path.rename(path.with_name("moved"))
    path.symlink_to(moved)


CHANGED = "it is not as it was built"


@pytest.mark.parametrize(
    ("path", "change", "what"),
    [
        ("app.psgi", _append, CHANGED),
        ("app.psgi", _other_bytes, CHANGED),
        ("app.psgi", Path.unlink, "it is not there"),
        ("app.psgi", lambda path: path.chmod(0o666), "its mode is 666 instead of 644"),
        ("bin/run", lambda path: path.chmod(0o4755), "its mode is 4755 instead of 755"),
        ("tmp", lambda path: path.chmod(0o777), "its mode is 777 instead of 755"),
        ("tmp", Path.rmdir, "it is not there"),
        ("tmp/new", Path.touch, "it was added"),
        ("new", lambda path: path.symlink_to("app.psgi"), "it was added"),
        ("log", _relink, CHANGED),
        ("share/up", _relink, CHANGED),
        (LONG, _other_bytes, CHANGED),
    ],
)
def test_a_difference_is_named(
    release: BuiltRelease, path: str, change: Callable[[Path], Any], what: str
) -> None:
    change(release.directory / path)
    assert list(differences(release.directory, APP, release.digest)) == [(path, what)]
    with pytest.raises(AgentError, match=f"^the release is refused: {path}: {what}$"):
        verify(release.directory, APP, release.digest)


def test_all_differences_are_named_in_order(release: BuiltRelease) -> None:
    _to_link(release.directory / "app.psgi")
    (release.directory / "zoo").touch()
    assert list(differences(release.directory, APP, release.digest)) == [
        ("app.psgi", CHANGED),
        ("moved", "it was added"),
        ("zoo", "it was added"),
    ]


def test_another_manifest_is_a_difference(release: BuiltRelease) -> None:
    assert list(differences(release.directory, APP, "0" * 64)) == [
        ("", f"its digest is {release.digest[:16]} instead of {'0' * 16}")
    ]
    assert first_difference(release.directory, APP, "") is not None
    assert "it is of app-shop" in str(first_difference(release.directory, "app-other", release.digest))
    (release.directory / PLACE).unlink()
    assert first_difference(release.directory, APP, release.digest) == "its manifest: it is not there"
    (release.directory / PLACE).symlink_to("/dev/zero")
    assert "it cannot be read" in str(first_difference(release.directory, APP, release.digest))


def test_a_comparison_ends_at_its_time(release: BuiltRelease) -> None:
    with pytest.raises(TimeoutError):
        first_difference(release.directory, APP, release.digest, since_boot() - 1)
    assert first_difference(release.directory, APP, release.digest, since_boot() + 60) is None


SHA256 = "0" * 64
HEADER = {"format": 1, "app": APP, "revision": REVISION, "committed": 1, "perl": ""}
OWN = ["d", ".bluegreen"]


NO_ENTRIES: tuple[Any, ...] = (
    ["f", "x"],
    ["f", "x", SHA256, 1],
    ["f", "x", SHA256, 1, 1],
    ["f", "x", SHA256, -1, False],
    ["f", "x", SHA256, 1 << 60, False],
    ["f", "x", SHA256, 1.0, False],
    ["f", "x", "0", 1, False],
    ["f", ["x"], SHA256, 1, False],
    ["f", "no/such/directory", SHA256, 1, False],
    ["f", ".bluegreen/manifest", SHA256, 1, False],
    ["f", "x\n", SHA256, 1, False],
    ["f", "x\x7f", SHA256, 1, False],
    ["f", "x\ud800", SHA256, 1, False],
    ["f", "x" * 4000, SHA256, 1, False],
    ["d", "/x"],
    ["d", "x/"],
    ["d", "../x"],
    ["d", ".."],
    ["d", ""],
    ["d", "x", 1],
    ["p", "x"],
    ["l", "x", 1],
    ["l", "x", ""],
    ["l", "x", "/etc/shadow"],
    ["l", "x", "../x"],
    ["l", "x", "y/" * 2048],
    ["l", "x", "x"],
    ["l", "x", "/var/lib/app-shop/../x"],
    ["l", "x", "/var/lib/app-shop/"],
    ["l", "x", "/var/lib/app-shop"],
    ["l", "x", "/var/lib/app-shopping/x"],
    ["l", "x", "/etc/app-shop//x"],
    "x",
    None,
    {},
)


def lines(*values: Any) -> bytes:
    return b"".join((json.dumps(one, separators=(",", ":")) + "\n").encode() for one in values)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"[]\n",
        b"\xff\n",
        b"{" * 100_000,
        lines(HEADER)[:-1],
        lines(HEADER),
        lines({**HEADER, "format": 2}, OWN),
        lines({**HEADER, "revision": "x"}, OWN),
        lines({**HEADER, "revision": ["a"]}, OWN),
        lines({**HEADER, "committed": -1}, OWN),
        lines({**HEADER, "committed": True}, OWN),
        lines({**HEADER, "perl": None}, OWN),
        lines({**HEADER, "more": 1}, OWN),
        lines(HEADER, OWN) + b"\n",
        lines(HEADER, OWN).replace(b",", b", "),
        *(lines(HEADER, OWN, entry) for entry in NO_ENTRIES),
        lines(HEADER, OWN, ["d", "x"], ["d", "x"]),
        lines(HEADER, ["d", "x"], OWN, ["d", "x/y"], ["l", "x/y/z", "../../../.."]),
        lines(HEADER, OWN, ["d", "b"], ["d", "a"]),
        lines(HEADER, OWN, ["l", "x", "."], ["f", "x/y", SHA256, 1, False]),
        lines(HEADER, OWN, ["l", "log", "/var/lib/app-shop/log"], ["l", "x", "log/../../../etc"]),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(AgentError, match="the release is refused"):
        parse(data, APP)


def test_a_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch, release: BuiltRelease) -> None:
    data = release.manifest.data
    for name, bound in (("LARGEST", 100), ("MOST_ENTRIES", 3), ("MOST_BYTES", 1000)):
        with monkeypatch.context() as patch:
            patch.setattr(manifests, name, bound)
            with pytest.raises(AgentError, match=r"larger|more than|not described"):
                parse(data, APP)
    monkeypatch.setattr(manifests, "MOST_ENTRIES", 3)
    with pytest.raises(AgentError, match="more than 3 files"):
        scan(release.directory)
