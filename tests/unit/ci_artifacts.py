"""Artifacts as CI makes them, and puts them into the artifact store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent import pack_artifact
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.policy import Artifacts
from tests.unit.artifacts import PERL
from tests.unit.runs import APP, REVISION

COMMITTED = 1_700_000_000


def allowing(**changes: Any) -> App:
    """Return an app that allows artifacts of CI."""
    app = load_app(APP)
    policy = app.policy.model_copy(update={"artifacts": Artifacts.ALLOWED})
    return app.model_copy(update={"policy": policy, **changes})


def built_tree(directory: Path) -> Path:
    """Return what CI has built, in the repository's own directory."""
    tree = directory / "built"
    (tree / "local/lib/perl5").mkdir(parents=True)
    (tree / ".git").mkdir()
    (tree / ".git/config").write_text("a token")
    (tree / "app.psgi").write_text("sub { [200, [], []] }\n")
    (tree / "local/lib/perl5/Small.pm").write_text("1;\n")
    (tree / "REVISION").write_text("whatever\n")
    return tree


def packed(
    directory: Path, capsys: pytest.CaptureFixture[str], *more: str, app: str = APP, revision: str = REVISION
) -> dict[str, Any]:
    """Pack what CI has built; return what the command prints."""
    tree = directory / "built" if (directory / "built").exists() else built_tree(directory)
    arguments = [str(tree), "--app", app, "--revision", revision, "--committed", str(COMMITTED)]
    assert pack_artifact.main([*arguments, "--out", str(directory), *more]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def put(directory: Path, store: ArtifactStore, sha256: str) -> Path:
    """Put an artifact where CI puts it, and return its place."""
    target = Path(store._directory.path) / "incoming" / f"{sha256}.tar.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(directory / f"{sha256}.tar.gz", target)
    return target


def with_perl(monkeypatch: pytest.MonkeyPatch, perl: str = PERL) -> None:
    """Let the machine of CI have a perl."""
    monkeypatch.setattr(pack_artifact, "perl_key", lambda *_: perl)
