"""A run of tests that is ended by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ending import ENDING_SIGNALS
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
TEST = """
import select
import signal
from pathlib import Path
import pytest

@pytest.fixture
def machine():
    Path("up").touch()
    yield
    # Whoever is impatient sends it again.
    signal.raise_signal(signal.SIGTERM)
    Path("down").touch()

def test_goes_on(machine):
    Path("at work").touch()
    while True:
        select.select([], [], [], 0.1)
"""


@pytest.mark.parametrize(
    ("number", "more"),
    [*((number, ()) for number in ENDING_SIGNALS), (signal.SIGTERM, ("--numprocesses", "2"))],
)
def test_a_run_that_is_ended_by_a_signal_takes_down_what_it_has_brought_up(
    tmp_path: Path, number: signal.Signals, more: tuple[str, ...]
) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = ["-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-p", "tests.ending", "test_it.py"]
    # Nothing of the run that this test is part of.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    with subprocess.Popen(
        [sys.executable, *command, *more], cwd=tmp_path, env={**inherited, "PYTHONPATH": str(ROOT)}
    ) as run:
        until(lambda: (tmp_path / "at work").exists() or run.poll() is not None, "the test is at work")
        run.send_signal(number)
        assert run.wait(60) == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "down").exists()
