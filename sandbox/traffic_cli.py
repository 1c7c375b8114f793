"""Command line of the traffic judge: ``python -m sandbox traffic``."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.traffic import Traffic, run

LONGEST_DURATION = 1800


def add_parser(subparsers: Any) -> None:
    """Add the command ``traffic``; its ``handler`` takes the parsed arguments and returns the exit status."""
    parser = subparsers.add_parser(
        "traffic",
        help="ask an address all the time and account for every request",
        description="Clients with kept-alive connections send GET / , GET /version and POST /echo in turn, "
        "or GET to each --path. "
        "Runs for the duration, or until SIGTERM or SIGINT; requests in flight are finished. "
        "Exit status 1 if any request failed, 2 if the judge could not do its work.",
    )
    parser.set_defaults(handler=_handle)
    parser.add_argument("--url", required=True, help="http://host[:port][/prefix]")
    parser.add_argument("--clients", type=_number(int, 1, 1000), default=40, help="default: %(default)s")
    parser.add_argument(
        "--path",
        action="append",
        default=[],
        dest="paths",
        help="ask for this path with GET, instead of the sample app's three; may be given several times",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--think",
        type=_number(float, 0, 60),
        default=0.08,
        help="seconds that each client waits between two requests, on average; default: %(default)s",
    )
    pace.add_argument(
        "--rate",
        type=_number(float, 0.1, 100_000),
        help="requests a second at most, by all clients; instead of --think",
    )
    parser.add_argument(
        "--duration",
        type=_number(float, 0.1, LONGEST_DURATION),
        default=60,
        help=f"seconds, at most {LONGEST_DURATION}; default: %(default)s",
    )
    parser.add_argument(
        "--timeout",
        type=_number(float, 0.1, 300),
        default=10,
        help="seconds for one request; default: %(default)s",
    )
    parser.add_argument(
        "--records", type=Path, help="write each request to this file as it ends (tab-separated)"
    )
    parser.add_argument(
        "--out", type=Path, help="write the result (JSON) to this file; default: standard output"
    )


def _number(kind: Callable[[str], float], lowest: float, highest: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text} is not within {lowest:g} and {highest:g}")
        return value

    parse.__name__ = "number"
    return parse


def _handle(arguments: argparse.Namespace) -> int:
    traffic = Traffic(
        url=arguments.url,
        clients=arguments.clients,
        think=arguments.clients / arguments.rate if arguments.rate else arguments.think,
        duration=arguments.duration,
        timeout=arguments.timeout,
        paths=arguments.paths,
        records=arguments.records,
    )
    try:
        result = asyncio.run(_run_until_signal(traffic))
        text = json.dumps(result, indent=2) + "\n"
        if arguments.out:
            _write_whole(arguments.out, text)
        else:
            sys.stdout.write(text)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"traffic: {error}\n")
        return 2
    failed = result["failed"]
    sys.stderr.write(
        f"traffic: {result['requests']} requests, {failed} failed, {result['app_errors']} app errors\n"
    )
    return 1 if failed else 0


async def _run_until_signal(traffic: Traffic) -> dict[str, Any]:
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    return await run(traffic, stop)


def _write_whole(path: Path, text: str) -> None:
    """Write the file atomically, so that a reader never sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def main() -> int:
    """The judge alone, without the rest of the sandbox: ``python -m sandbox.traffic_cli traffic …``."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.traffic_cli")
    add_parser(parser.add_subparsers(required=True))
    arguments = parser.parse_args()
    status: int = arguments.handler(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
