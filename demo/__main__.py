"""``python -m demo``: four deploys under load. ``python -m demo down``: stop what ``KEEP=1`` left running."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from demo.airflow import AirflowStack
from demo.deploys import Deploys
from demo.environment import DemoEnvironment
from demo.errors import DemoError
from demo.report import problems, report, table
from demo.world import World
from sandbox import SandboxError
from sandbox.traffic_records import read

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", nargs="?", choices=("run", "down"), default="run")
    try:
        return _down() if parser.parse_args().command == "down" else _run(keep=_wants_to_keep())
    except (DemoError, SandboxError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def _wants_to_keep() -> bool:
    return os.environ.get("KEEP", "") not in ("", "0")


def _say(text: str) -> None:
    print(text, flush=True)


def _down() -> int:
    world = World(_say)
    with world.alone():
        _say("down" if world.down() else "nothing of the demo is running")
    return 0


def _run(*, keep: bool) -> int:
    started = time.monotonic()
    world = World(_say)
    kept = False
    with world.alone(), _signals_end_it():
        try:
            _say("Starting the sandbox and Airflow")
            environment, airflow = world.up()
            _say(f"Both are up after {time.monotonic() - started:.0f} s\n")
            good = _deploy(world, environment, airflow)
            kept = keep
        except _Ended as ended:
            _say("interrupted")
            return 128 + ended.number
        finally:
            if kept:
                _say_where(environment, airflow)
            else:
                _take_down(world)
            _say(f"The demo took {time.monotonic() - started:.0f} s")
    return 0 if good else 1


def _deploy(world: World, environment: DemoEnvironment, airflow: AirflowStack) -> bool:
    deploys = Deploys(world, environment, airflow.client(), _say)
    deploys.provision()
    result = report(deploys.run(), read(world.records))
    file = world.directory / "report.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    _say(table(result))
    _say(f"All of it: {file}")
    wrong = problems(result["deploys"])
    for problem in wrong:
        _say(f"NOT AS IT SHOULD BE: {problem}")
    return not wrong


def _say_where(environment: DemoEnvironment, airflow: AirflowStack) -> None:
    _say(
        f"\nLeft running:\n"
        f"  Airflow   {airflow.url}  user {airflow.user}, password in {airflow.home.passwords}\n"
        f"  the app   {environment.proxy_url()}\n"
        f"  sandbox   python -m sandbox status --dir {environment.sandbox.layout.directory}\n"
        f"  app file  {environment.directory / 'apps'}\n"
        f"Stop it with: make demo-down"
    )


class _Ended(BaseException):
    """Somebody wants the demo to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Turn the signals that would kill this process into an exception, so that everything is taken down."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended(number)

    before = {number: signal.signal(number, end) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_down(world: World) -> None:
    """Stop everything; being impatient does not stop the stopping."""
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _say("Taking everything down")
    world.down()


if __name__ == "__main__":
    sys.exit(main())
