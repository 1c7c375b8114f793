"""How all tests are run beside each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Thread

from _pytest.mark.expression import Expression

from scripts.run_tests import ROOT, Suite, runs
from tests.waiting import until

PYTEST = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, lambda *_: sys.exit(2))
Path(sys.argv[1]).touch()
signal.pause()
"""


def test_a_test_is_part_of_one_run_whatever_it_needs() -> None:
    for needed in ({"sandbox", "airflow"}, {"sandbox"}, set()):
        assert len([run for run in runs() if chooses(run, needed)]) == 1, needed


def chooses(run: Sequence[str], markers: Collection[str]) -> bool:
    """Return whether a run of pytest chooses a test with these markers."""
    expression = Expression.compile(run[run.index("-m", run.index("pytest")) + 1])
    return expression.evaluate(lambda name, /, **_: name in markers)


def test_a_folder_that_a_run_leaves_out_has_no_test_for_it() -> None:
    left_out = [{word for word in run if word.startswith("--ignore=")} for run in runs()]
    everywhere = set.intersection(*left_out)
    for run, ignored in zip(runs(), left_out, strict=True):
        for word in ignored - everywhere:
            for file in (ROOT / word.removeprefix("--ignore=")).rglob("test_*.py"):
                marked = set(re.findall(r"\bmark\.(sandbox|airflow)\b", file.read_text()))
                assert not chooses(run, marked), file


def test_an_end_by_a_signal_is_passed_on_to_all_that_run_and_nothing_is_started_after_it(
    tmp_path: Path,
) -> None:
    started = [tmp_path / str(number) for number in range(3)]
    suite = Suite([[sys.executable, "-c", PYTEST, str(path)] for path in started], [None] * 3)
    running = Thread(target=suite.run)
    running.start()
    until(lambda: all(path.exists() for path in started), "all are at work")
    suite.interrupt()
    running.join(60)
    assert suite.statuses == [2, 2, 2]
    suite.run()
    assert suite.statuses == [2, 2, 2]


def test_the_status_of_each_command_is_known() -> None:
    suite = Suite([[sys.executable, "-c", f"exit({status})"] for status in (0, 1, 5, 3)], [None] * 4)
    suite.run()
    assert sorted(suite.statuses) == [0, 1, 3, 5]
