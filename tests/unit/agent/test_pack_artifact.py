"""CI makes an artifact that droplets take like any other, of what it has built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent import pack_artifact
from agent.droplet import artifact as artifacts
from agent.droplet.artifact import check, unpack
from agent.droplet.building import wrappers
from agent.protocol import AgentError
from tests.unit.ci_artifacts import COMMITTED, built_tree, packed, with_perl
from tests.unit.runs import APP, REVISION


@pytest.fixture(autouse=True)
def _perl(monkeypatch: pytest.MonkeyPatch) -> None:
    with_perl(monkeypatch)
    monkeypatch.setattr(artifacts, "sync", lambda _: None)


def test_what_ci_has_built_is_unpacked_as_a_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = f"log=/var/lib/app-{APP}/shared/log"
    answer = packed(tmp_path, capsys, "--link", link)
    file = tmp_path / f"{answer['sha256']}.tar.gz"
    manifest = check(file, f"app-{APP}")
    assert (manifest.revision, manifest.committed, manifest.release) == (
        REVISION,
        COMMITTED,
        answer["release"],
    )
    unpack(file, tmp_path / "release", f"app-{APP}", manifest.digest)
    names = {path.relative_to(tmp_path / "release").as_posix() for path in (tmp_path / "release").rglob("*")}
    assert {"app.psgi", "local/lib/perl5/Small.pm", "log", "REVISION"} <= names
    assert {f".bluegreen/{name}" for name in wrappers()} <= names
    assert not any(name.startswith(".git") for name in names)
    assert (tmp_path / "release/REVISION").read_text() == f"{REVISION}\n"


def test_the_same_gives_the_same_artifact_and_what_was_built_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = packed(tmp_path, capsys)
    assert packed(tmp_path, capsys) == first
    assert (tmp_path / "built/REVISION").read_text() == "whatever\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{first['sha256']}.tar.gz", "built"]


def test_what_no_release_can_have_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = built_tree(tmp_path)
    (tree / "secrets").symlink_to("/etc/shadow")
    arguments = [str(tree), "--app", APP, "--revision", REVISION, "--committed", "1", "--out", str(tmp_path)]
    assert pack_artifact.main(arguments) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "the release is refused: secrets " in said.err
    assert said.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["built"]


def test_a_file_that_is_no_artifact_has_no_manifest(tmp_path: Path) -> None:
    for content in (b"", b"no gzip", b"\x1f\x8b" + b"x" * 600):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(AgentError, match="the release is refused: its artifact"):
            check(tmp_path / "file", f"app-{APP}")


def test_a_perl_that_does_not_run_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    tree = built_tree(tmp_path)
    arguments = [str(tree), "--app", APP, "--revision", REVISION, "--committed", "1", "--out", str(tmp_path)]
    assert pack_artifact.main([*arguments, "--perl", "/usr/bin/no-perl"]) == 1
    assert "/usr/bin/no-perl does not run here" in capsys.readouterr().err
    assert pack_artifact.main(arguments) == 0
    [file] = tmp_path.glob("*.tar.gz")
    assert re.fullmatch(r"5\.\d+\.\d+ \S+\nglibc \d\.\d+", check(file, f"app-{APP}").perl)


def test_an_artifact_is_not_packed_into_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = built_tree(tmp_path)
    monkeypatch.chdir(tree)
    arguments = [".", "--app", APP, "--revision", REVISION, "--committed", "1"]
    for out in ([], ["--out", str(tree / "local")]):
        assert pack_artifact.main([*arguments, *out]) == 1
        assert "give another directory by --out" in capsys.readouterr().err
    assert pack_artifact.main([*arguments, "--out", str(tmp_path)]) == 0
