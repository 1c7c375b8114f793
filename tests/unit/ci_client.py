"""What the tests of the CI client have in common: a run in a made-up Airflow, and calls of the client."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.fake_airflow import FakeApi

ROOT = Path(__file__).resolve().parents[2]
CLIENT = ROOT / "examples" / "ci" / "trigger_deploy.py"
DAG = "/api/v2/dags/bluegreen_deploy__shop"
RUN = f"{DAG}/dagRuns/ci-1"
REPORT = f"GET {RUN}/taskInstances/report/xcomEntries/report"
PARAMS = ("ref", "reason", "dry_run", "force")
Call = Callable[..., tuple[int, list[str]]]

CREDENTIALS = {"AIRFLOW_USERNAME": "ci", "AIRFLOW_PASSWORD": "pass phrase"}


def arguments(url: str, *more: str, run_id: str = "ci-1", seconds: int = 20) -> list[str]:
    return [f"--url={url}", "--app=shop", "--ref=v2", f"--run-id={run_id}", f"--timeout={seconds}", *more]


def task(name: str, state: str | None, **more: Any) -> dict[str, Any]:
    return {"task_id": name, "map_index": -1, "state": state, "try_number": 1, "duration": 1.5, **more}


def tasks(*instances: dict[str, Any]) -> dict[str, Any]:
    return {"task_instances": list(instances), "total_entries": len(instances)}


def report(outcome: str, message: str = "the last line") -> dict[str, Any]:
    return {"value": {"outcome": outcome, "live": "green", "message": message}}


def airflow_with_a_run(outcome: str = "live and confirmed", state: str = "success") -> FakeApi:
    """An Airflow in which the run ci-1 of shop can be triggered, and ends after three looks."""
    api = FakeApi()
    api.answers |= {
        f"GET {DAG}/details": {"is_paused": False, "params": {name: {} for name in PARAMS}},
        f"POST {DAG}/dagRuns": {"dag_run_id": "ci-1"},
        f"GET {RUN}": [{"state": "queued"}, {"state": "running"}, {"state": state, "conf": {"ref": "v2"}}],
        f"GET {RUN}/taskInstances": [tasks(task("lock", None)), tasks(task("lock", "success"))],
        REPORT: report(outcome),
    }
    return api


def airflow_with_an_ended_run() -> FakeApi:
    """The same, but the run ends at once."""
    api = airflow_with_a_run()
    api.answers[f"GET {RUN}"] = {"state": "success"}
    return api


def start(*argv: str, **environment: str) -> subprocess.Popen[str]:
    """Start the client as a CI machine does, with nothing but Python's standard library."""
    return subprocess.Popen(
        [sys.executable, "-S", str(CLIENT), *argv],
        env={"PATH": os.environ["PATH"], **CREDENTIALS, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def curl_commands(run_id: str, ref: str = "v2") -> str:
    """Return the documentation's commands for machines that have curl alone."""
    [commands] = re.findall(r"```sh\n(umask 077\n.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    assert commands.count('"ref": "v2"') == 1
    return str(commands).replace("ci-1234", run_id).replace('"ref": "v2"', f'"ref": "{ref}"')


def run_commands(
    commands: str, directory: Path, *, seconds: float, shell: str = "sh", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run them in a directory as a CI machine does."""
    return subprocess.run(
        [*shell.split(), "-c", commands],
        env={"PATH": os.environ["PATH"], **CREDENTIALS, **environment},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
