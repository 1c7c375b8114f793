"""What the agent's command line takes, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import Kind, Verb
from bluegreen.agent_bundle import agent_bundle


def run(directory: Path, verb: Verb, request: Any) -> subprocess.CompletedProcess[str]:
    file = directory / agent_bundle().name
    file.write_bytes(agent_bundle().data)
    command = [sys.executable, "-B", str(file), verb.value, "-"]
    environment = {"BLUEGREEN_ROOT": str(directory), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        command, input=json.dumps(request), env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("verb", [verb for verb in Verb if verb.kind is Kind.STEP])
def test_a_step_of_a_job_cannot_be_called_by_itself(tmp_path: Path, verb: Verb) -> None:
    done = run(tmp_path, verb, {"app": "app-shop", "unit": "bluegreen-app-shop-1"})
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "bad_request"


@pytest.mark.parametrize(
    "request_", [{}, {"steps": []}, {"steps": [{"verb": "x", "request": {}}]}, {"steps": 1}]
)
def test_a_job_without_a_program_has_a_cause(tmp_path: Path, request_: Any) -> None:
    done = run(tmp_path, Verb.JOB, request_)
    assert (done.returncode, done.stdout) == (
        1,
        "bluegreen: it is no program; a job is started by start_job\n",
    )


def test_the_last_line_of_a_job_that_fails_is_the_cause(tmp_path: Path) -> None:
    (tmp_path / "run/bluegreen").mkdir(parents=True)
    about = {"app": "app-shop", "unit": "bluegreen-app-shop-1"}
    done = run(tmp_path, Verb.JOB, {"steps": [{"verb": "run", "request": {**about, "user": "../x"}}]})
    assert (done.returncode, done.stdout) == (1, "bluegreen: user: '../x' is not usable\n")
