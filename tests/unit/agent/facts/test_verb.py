"""The verb ``facts`` answers in time and within bounds, or says why it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bluegreen.agent_bundle import AGENT_DIRECTORY
from tests.facts_call import facts_command, facts_input

MACHINE: dict[str, Any] = {
    "kind": "proxy",
    "ports": [],
    "unit": "x.service",
    "files": [],
    "config": None,
    "certificates": [],
    "servers": [],
    "path": "/",
    "host": None,
    "https": False,
    "pages": [],
    "page_server": None,
    "seconds": 10,
}


def answer(**changes: Any) -> Any:
    """Return what the verb answers, run from memory as on a machine."""
    command = [sys.executable, *facts_command()[1:]]
    done = subprocess.run(
        command, input=facts_input({**MACHINE, **changes}), capture_output=True, check=False
    )
    return json.loads(done.stdout)


def test_facts_are_answered_under_a_key_of_their_own() -> None:
    found = answer()
    assert found["ok"] is True
    assert found["facts"]["memory_mb"] > 0


@pytest.mark.parametrize(
    "changes", [{"kind": "nothing"}, {"kind": ["proxy"]}, {"seconds": "10"}, {"seconds": 10_000}], ids=str
)
def test_a_request_that_cannot_be_understood_is_refused(changes: dict[str, Any]) -> None:
    assert answer(**changes)["error"] == "bad_request"


def test_facts_that_are_larger_than_anybody_reads_are_refused(tmp_path: Path) -> None:
    files = [str(tmp_path / str(number)) for number in range(8)]
    for name in files:
        Path(name).write_text("x" * (256 << 10))
    found = answer(files=files)
    assert (found["error"], found["message"]) == ("too_large", "they are larger than 1500 KB")


# What hangs has no limit of its own.
HANGS = """
import sys, time
sys.path.append(sys.argv[1])
from agent.call import Call
from agent.facts import mirror, verb
from agent.protocol import Verb
verb.LATE_SECONDS = 0.1
mirror.mirror = lambda *_: time.sleep(60) or {}
verb.facts(Call.of(Verb.FACTS), {"kind": "mirror", "seconds": 0.1})
"""


def test_facts_that_hang_are_given_up_while_airflow_still_listens() -> None:
    command = [sys.executable, "-c", HANGS, str(AGENT_DIRECTORY.parent)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["message"] == "they are not whole after 0 s"
