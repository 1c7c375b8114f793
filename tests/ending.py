"""A run that is ended by a signal takes down what it has brought up: machines, Airflow, servers."""

from __future__ import annotations

import signal

import pytest

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def pytest_configure(config: pytest.Config) -> None:
    """Let each of the signals end the run as Ctrl-C does; a second one does not end the teardown."""
    # pytest-xdist starts its workers in the background, and kills them 10 seconds after its own end.
    is_worker = hasattr(config, "workerinput")
    for number in ENDING_SIGNALS:
        # Whoever has started this in the background, or by nohup, does not want it to hear the terminal.
        if is_worker or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(_number: int, _frame: object) -> None:
    for number in ENDING_SIGNALS:
        # Not ignored: processes that are started from here on would ignore it, too.
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt
