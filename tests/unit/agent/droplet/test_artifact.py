"""An artifact is the release that was packed, or it is refused and nothing of it counts."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.droplet import artifact as artifacts
from agent.droplet.artifact import check, pack, unpack
from agent.droplet.manifest import PLACE, first_difference
from agent.protocol import AgentError
from agent.system import digest
from tests.unit.agent.droplet.built_release import APP, COMMITTED, BuiltRelease, build_release


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for the disk of this machine."""
    monkeypatch.setattr(artifacts, "sync", lambda _: None)


@pytest.fixture
def release(tmp_path: Path) -> BuiltRelease:
    directory = tmp_path / "release"
    directory.mkdir()
    return build_release(directory)


@pytest.fixture
def artifact(release: BuiltRelease, tmp_path: Path) -> Path:
    pack(release.directory, tmp_path / "artifact.tar.gz", APP)
    return tmp_path / "artifact.tar.gz"


def test_what_is_unpacked_is_what_was_packed(release: BuiltRelease, artifact: Path, tmp_path: Path) -> None:
    target = tmp_path / "unpacked"
    before = os.umask(0o077)
    try:
        manifest = unpack(artifact, target, APP, release.digest)
    finally:
        os.umask(before)
    assert manifest == release.manifest
    assert first_difference(target, APP, release.digest) is None
    for path in (target, *target.rglob("*")):
        assert path.lstat().st_mtime == COMMITTED


def test_packing_the_same_twice_gives_the_same_file(release: BuiltRelease, tmp_path: Path) -> None:
    packed = [pack(release.directory, tmp_path / name, APP) for name in ("a", "b")]
    os.utime(release.directory / "app.psgi", (1, 1))
    packed.append(pack(release.directory, tmp_path / "c", APP))
    assert len({one["sha256"] for one in packed}) == 1
    data = (tmp_path / "a").read_bytes()
    assert (packed[0]["sha256"], packed[0]["size"]) == (digest(data), len(data))
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_an_artifact_can_be_read_by_any_tar(release: BuiltRelease, artifact: Path, tmp_path: Path) -> None:
    with tarfile.open(artifact) as archive:
        members = archive.getmembers()
        assert members[0].name == PLACE
        assert [member.name for member in members[1:]] == [entry.path for entry in release.manifest.entries]
        archive.extractall(tmp_path / "plain", filter="tar")
    assert first_difference(tmp_path / "plain", APP, release.digest) is None


def test_a_release_that_has_changed_since_its_manifest_is_not_packed(
    release: BuiltRelease, tmp_path: Path
) -> None:
    (release.directory / "app.psgi").write_text("more than there was")
    with pytest.raises(AgentError, match=r"app\.psgi is not as its manifest says"):
        pack(release.directory, tmp_path / "a", APP)


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], object]


def repacked(artifact: Path, change: Change) -> None:
    """Pack an artifact anew with other members."""
    with tarfile.open(artifact) as archive:
        members = [(member, _data(archive, member)) for member in archive.getmembers()]
    change(members)
    with tarfile.open(artifact, "w:gz", format=tarfile.GNU_FORMAT) as archive:
        for member, data in members:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member) if member.isreg() else None
    return file.read() if file else b""


def named(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def at(name: str, members: list[tuple[tarfile.TarInfo, bytes]]) -> int:
    return next(number for number, (member, _) in enumerate(members) if member.name == name)


def swap_bytes(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    number = at("app.psgi", members)
    members[number] = members[number][0], members[number][1].swapcase()


def set_field(name: str, field: str, value: object) -> Change:
    return lambda members: setattr(members[at(name, members)][0], field, value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (swap_bytes, "app.psgi is not as its manifest says"),
        (lambda members: members.insert(1, (named("../../evil"), b"x")), "has ../../evil where its manifest"),
        (lambda members: members.insert(1, (named("/etc/cron.d/evil"), b"x")), "/etc/cron.d/evil where"),
        (lambda members: members.append((named("evil"), b"x")), "has more in it than its manifest"),
        (lambda members: members.append(members[3]), "has more in it than its manifest"),
        (lambda members: members.pop(), "is damaged"),
        (lambda members: members.pop(0), "does not begin with a manifest"),
        (lambda members: members.__setitem__(slice(None), []), "does not begin with a manifest|is damaged"),
        (lambda members: members.reverse(), "does not begin with a manifest"),
        (set_field("log", "linkname", "/etc/shadow"), "has log where its manifest has log"),
        (set_field("app.psgi", "type", tarfile.LNKTYPE), "has app.psgi where"),
        (set_field("empty", "type", tarfile.CHRTYPE), "has empty where"),
        (set_field("empty", "type", tarfile.FIFOTYPE), "has empty where"),
        (set_field("tmp", "type", tarfile.SYMTYPE), "has tmp where"),
        (set_field("empty", "name", "x" * 5000), "a name that is too long"),
        (set_field("log", "linkname", "x" * 5000), "a name that is too long"),
    ],
)
def test_an_artifact_with_other_members_is_refused(
    release: BuiltRelease, artifact: Path, tmp_path: Path, change: Change, why: str
) -> None:
    repacked(artifact, change)
    with pytest.raises(AgentError, match=f"^the release is refused: .*({why})"):
        unpack(artifact, tmp_path / "unpacked", APP, release.digest)
    assert not (tmp_path / "evil").exists()
    # An artifact of CI, whose digest nobody knows before, is refused for the same reason.
    with pytest.raises(AgentError, match=f"^the release is refused: .*({why})"):
        check(artifact, APP)


def test_an_artifact_is_compared_with_its_own_manifest_without_being_unpacked(
    release: BuiltRelease, artifact: Path, tmp_path: Path
) -> None:
    assert check(artifact, APP) == release.manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact.tar.gz", "release"]


@pytest.mark.parametrize("size", [-1, -5])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("place", [0, 1])
def test_a_member_of_a_negative_size_is_not_read_into_memory(
    release: BuiltRelease, artifact: Path, tmp_path: Path, place: int, kind: bytes, size: int
) -> None:
    header = bytearray(named(PLACE if place == 0 else ".bluegreen", kind).tobuf(tarfile.GNU_FORMAT))
    # A number in base 256, which may have a sign; and the checksum, which counts itself as spaces.
    header[124:136] = size.to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = gzip.decompress(artifact.read_bytes())
    first = tarfile.BLOCKSIZE + -(-len(release.manifest.data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    with gzip.open(artifact, "wb", 1) as packed:
        packed.write(data[: first * place] + header)
        for _ in range(64):
            packed.write(bytes(1 << 20))
    calls: list[Callable[[], object]] = [
        lambda: check(artifact, APP),
        lambda: unpack(artifact, tmp_path / "unpacked", APP, release.digest),
    ]
    for call in calls:
        tracemalloc.start()
        try:
            with pytest.raises(AgentError, match="negative size"):
                call()
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_an_artifact_with_another_manifest_is_refused(
    release: BuiltRelease, artifact: Path, tmp_path: Path
) -> None:
    with pytest.raises(AgentError, match=r"of the digest .* instead of 0000000000000000"):
        unpack(artifact, tmp_path / "unpacked", APP, "0" * 64)
    with pytest.raises(AgentError, match="it is of app-shop, not of app-other"):
        unpack(artifact, tmp_path / "unpacked", "app-other", release.digest)
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.999])
def test_an_artifact_that_was_cut_is_refused(
    release: BuiltRelease, artifact: Path, tmp_path: Path, keep: float
) -> None:
    data = artifact.read_bytes()
    artifact.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(AgentError, match="its artifact is damaged"):
        unpack(artifact, tmp_path / "unpacked", APP, release.digest)
    with pytest.raises(AgentError, match="its artifact is damaged"):
        check(artifact, APP)


def test_an_artifact_with_other_bytes_anywhere_is_refused_or_the_same(
    release: BuiltRelease, artifact: Path, tmp_path: Path
) -> None:
    data = artifact.read_bytes()
    for number, place in enumerate(range(0, len(data), max(1, len(data) // 60))):
        artifact.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        target = tmp_path / f"unpacked-{number}"
        try:
            unpack(artifact, target, APP, release.digest)
        except AgentError:
            continue
        assert first_difference(target, APP, release.digest) is None


def test_a_name_without_an_end_is_not_read_into_memory(
    release: BuiltRelease, artifact: Path, tmp_path: Path
) -> None:
    header = named("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 30
    with gzip.open(artifact, "wb", 1) as packed:
        packed.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            packed.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(AgentError):
            unpack(artifact, tmp_path / "unpacked", APP, release.digest)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
