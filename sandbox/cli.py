"""Command line: ``python -m sandbox up | down | status | stock-cpan | fault … | traffic …``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from sandbox import fault_cli, lifecycle, traffic_cli
from sandbox.client import DEFAULT_DIRECTORY, Sandbox
from sandbox.errors import SandboxError
from sandbox.layout import Layout


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, handler, text in (
        ("up", _up, "start a sandbox, unless it is up"),
        ("down", _down, "stop a sandbox, or clean up after one that died"),
        ("status", _status, "list the droplets, load balancers and reserved IPs"),
        ("serve", _serve, "be a sandbox's server, in the foreground; `up` starts it"),
    ):
        command = subparsers.add_parser(name, help=text, description=text)
        command.set_defaults(handler=handler)
        _add_directory(command)
        if name in ("up", "serve"):
            command.add_argument("--name", help="default: the directory's name")
        if name == "serve":
            command.add_argument(
                "--parent", type=int, help="go down when this process, the parent, has ended"
            )
    text = "fetch real distributions for the CPAN mirrors of this machine's sandboxes, once: some minutes"
    stocking = subparsers.add_parser("stock-cpan", help=text, description=text)
    stocking.set_defaults(handler=_stock_cpan)
    fault_cli.add_parser(subparsers)
    traffic_cli.add_parser(subparsers)
    options = parser.parse_args(arguments)
    try:
        return int(options.handler(options))
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", default=DEFAULT_DIRECTORY, help="where the sandbox keeps its things; default: %(default)s"
    )


def _up(options: argparse.Namespace) -> int:
    box = Sandbox.up(options.dir, options.name, say=lambda text: print(text, file=sys.stderr))
    print(json.dumps(json.loads(box.layout.description.read_text()), indent=2))
    return 0


def _down(options: argparse.Namespace) -> int:
    existed = lifecycle.down(Layout.of(options.dir))
    print("down" if existed else f"no sandbox in {options.dir}")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from sandbox.server import serve

    serve(Layout.of(options.dir, options.name), options.parent)
    return 0


def _stock_cpan(_options: argparse.Namespace) -> int:
    from sandbox.cpan import stock

    print(stock.ensure(say=lambda text: print(text, file=sys.stderr)))
    return 0


def _status(options: argparse.Namespace) -> int:
    box = Sandbox.attach(options.dir)
    print(f"{box.name}: API {box.api_url}, forge {box.forge_url}, CPAN {box.cpan_url}")
    rows: list[tuple[str, ...]] = [("DROPLET", "NAME", "STATE", "PUBLIC", "PRIVATE", "TAGS")]
    for shown in box.droplets():
        state = shown["status"] if shown["link_is_up"] else f"{shown['status']}, link cut"
        rows.append(
            (
                str(shown["droplet"]),
                shown["name"],
                f"{state}, phantom" if shown["phantom"] else state,
                shown["public_address"] or "-",
                shown["private_address"] or "-",
                " ".join(tag if len(tag) <= 40 else f"{tag[:39]}…" for tag in shown["tags"]),
            )
        )
    _print_table(rows)
    for each in box.request("GET", "addresses")["addresses"]:
        names = ", ".join(each["droplets"]) or "nowhere"
        print(f"{each['kind']} {each['address']} leads to {names}")
    return 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
