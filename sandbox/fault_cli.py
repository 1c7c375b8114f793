"""Command line of the faults: ``python -m sandbox fault …``."""

from __future__ import annotations

import argparse
from typing import Any

from sandbox.api.faults import KINDS
from sandbox.client import DEFAULT_DIRECTORY, Sandbox

MACHINE_FAULTS = {
    "power-off": "take its power away at once",
    "power-on": "give it power again",
    "cut-link": "pull its cable",
    "restore-link": "plug its cable in again",
    "delay": "make the round trips of new TCP connections to it longer",
    "undelay": "undo delay",
    "fill-disk": "leave no byte free on its disk",
    "free-disk": "free what fill-disk took",
    "kill": "kill its processes whose command line matches a pattern",
    "change-host-key": "give its sshd another host key",
    "hide-private": "leave its private address out of the API's answers",
    "show-private": "undo hide-private",
}
SERVICE_TEXTS = {
    "api": "the API",
    "forge": "the forge",
    "cpan": "the CPAN mirror",
    "debian": "the mirror of Debian's packages",
}
PATHS = {
    "api": "/v2/droplets*",
    "forge": "/git/*",
    "cpan": "/cpan/modules/*",
    "debian": "/debian/dists/*",
}


def add_parser(subparsers: Any) -> None:
    """Add the command ``fault``; its ``handler`` takes the parsed arguments and returns the exit status."""
    parser = subparsers.add_parser(
        "fault", help="break something on purpose", description="Break something on purpose, or repair it."
    )
    faults = parser.add_subparsers(required=True, metavar="FAULT")
    for name, text in MACHINE_FAULTS.items():
        fault = faults.add_parser(name, help=text, description=text)
        fault.add_argument("machine", help="the droplet's name or id, or one of its addresses")
        if name == "kill":
            fault.add_argument("argument", metavar="pattern", help="regular expression of the command line")
        if name == "delay":
            fault.add_argument("argument", metavar="milliseconds", help="how much longer")
        fault.set_defaults(handler=_machine, fault=name)
    _add_services(faults)
    _add_others(faults)
    for fault in faults.choices.values():
        fault.add_argument("--dir", default=DEFAULT_DIRECTORY, help="the sandbox's; default: %(default)s")


def _add_services(faults: Any) -> None:
    for name, text in SERVICE_TEXTS.items():
        service = faults.add_parser(name, help=f"make {text} misbehave, until `clear`")
        service.add_argument("kind", choices=KINDS)
        service.add_argument("--status", type=int, help="HTTP status; default: 500")
        service.add_argument("--method", help="HTTP method, or SSH; default: all")
        service.add_argument("--path", help=f"pattern, such as '{PATHS[name]}'; default: all")
        service.add_argument("--count", type=int, help="how many requests it concerns; default: all")
        service.add_argument("--retry-after", type=int, help="seconds that a Retry-After header names")
        service.add_argument("--seconds", type=float, help="how late a slow answer is; default: 5")
        service.add_argument("--after", action="store_true", help="carry the request out, then misbehave")
        service.set_defaults(handler=_service, service=name)
    clear = faults.add_parser("clear", help="end the misbehaviour of all servers")
    clear.set_defaults(handler=_clear)


def _add_others(faults: Any) -> None:
    phantoms = faults.add_parser("phantoms", help="add droplets that exist in the API only")
    phantoms.add_argument("count", type=int)
    phantoms.add_argument("--name", default="phantom")
    phantoms.add_argument("--tag", action="append", default=[])
    phantoms.add_argument("--no-private", action="store_true", help="without a private address")
    phantoms.set_defaults(handler=_phantoms)
    limits = faults.add_parser("limits", help="forget the requests so far and set the API's rate limits")
    for name in ("hourly", "burst", "key-lists"):
        limits.add_argument(f"--{name}", type=int)
    limits.set_defaults(handler=_limits)


def _machine(options: argparse.Namespace) -> int:
    box = Sandbox.attach(options.dir)
    machine = box.machine(options.machine)
    body = {"fault": options.fault, "argument": getattr(options, "argument", "")}
    result = box.request("POST", f"machines/{machine.droplet_id}/faults", body)["result"]
    if result is not None:
        print(result)
    return 0


def _service(options: argparse.Namespace) -> int:
    names = ("status", "method", "path", "count", "retry_after", "seconds", "after")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    Sandbox.attach(options.dir).fault(options.service, options.kind, **given)
    return 0


def _clear(options: argparse.Namespace) -> int:
    Sandbox.attach(options.dir).clear_faults()
    return 0


def _phantoms(options: argparse.Namespace) -> int:
    box = Sandbox.attach(options.dir)
    box.add_phantoms(options.count, options.name, options.tag, private=not options.no_private)
    return 0


def _limits(options: argparse.Namespace) -> int:
    names = ("hourly", "burst", "key_lists")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    Sandbox.attach(options.dir).reset_limits(**given)
    return 0
