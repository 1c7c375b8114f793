"""An artifact that CI has built, deployed instead of a ref."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from demo.environment import APP
from sandbox.traffic_records import read, summarize
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.stack import Judge, Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

ALLOWED = {"policy": {"artifacts": "allowed"}}


def test_an_artifact_that_ci_has_built_goes_live_where_the_apps_file_allows_it(
    stack: Stack, judge: Judge, tmp_path: Path
) -> None:
    ref = stack.live_ref()
    assert ref
    revision = stack.revisions[ref]
    sha256 = pack_and_upload(stack, built(stack, revision, tmp_path / "built"), revision)
    old, started = stack.live(), time.time()
    with settings(stack, ALLOWED, lambda: has_artifact_param(stack)):
        rehearsal = stack.run("deploy", artifact=sha256, dry_run=True)
        stack.run("deploy", artifact=sha256, force=True).expect("live and confirmed")
    assert rehearsal.state == "success", rehearsal.report
    assert (stack.live() != old, stack.live_ref()) == (True, ref)
    assert summarize(read(judge.records), started, time.time()).failed == 0


def has_artifact_param(stack: Stack) -> bool:
    """Whether the form of a deploy asks for an artifact."""
    return "artifact" in stack.client.get(f"dags/{DEPLOY}/details")["params"]


def built(stack: Stack, revision: str, directory: Path) -> Path:
    """Return a directory with what CI's build would make of a revision: what a droplet has made of it."""
    store = stack.cache / "artifacts" / APP
    records = (path for path in store.glob("*.json") if json.loads(path.read_text())["revision"] == revision)
    artifact = next(records).with_suffix(".tar.gz")
    with tarfile.open(artifact) as archive:
        archive.extractall(directory, filter="tar")
    return directory


def pack_and_upload(stack: Stack, directory: Path, revision: str) -> str:
    """Do what docs/ci.md asks CI to do; return the artifact's SHA-256."""
    out = directory.parent
    committed = str(int((directory / "REVISION").stat().st_mtime))
    command = (
        *(sys.executable, "-m", "agent.pack_artifact", directory, "--app", APP, "--out", out),
        *("--revision", revision, "--committed", committed),
    )
    environment = {**os.environ, "PYTHONPATH": "include"}
    packed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    sha256: str = json.loads(packed.stdout)["sha256"]
    incoming = stack.cache / "artifacts" / APP / "incoming"
    incoming.mkdir(exist_ok=True)
    (out / f"{sha256}.tar.gz").rename(incoming / f"{sha256}.tar.gz")
    return sha256
