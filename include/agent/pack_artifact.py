"""``python3 -m agent.pack_artifact``: make an artifact of what CI has built.

It is a command for CI, and no verb: it needs no root, runs nothing of the app, and changes only the file that
it writes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from agent.droplet.app_paths import APP
from agent.droplet.artifact import pack
from agent.droplet.building import seal
from agent.droplet.inspection import make_way, take_over
from agent.droplet.links import may_be_linked_to
from agent.droplet.perl_key import perl_key
from agent.fields import REVISION
from agent.protocol import AgentError, Code


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack a directory as the command line says, and print a JSON object; return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        answer = pack_artifact(
            given.directory,
            given.out,
            f"app-{given.app}",
            given.revision,
            given.committed,
            given.perl,
            dict(_link(one) for one in given.link),
        )
    except (AgentError, OSError, shutil.Error) as error:
        print(f"pack_artifact: {error}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


def pack_artifact(
    directory: Path,
    out: Path,
    app: str,
    revision: str,
    committed: int,
    perl: str,
    links: dict[str, str],
) -> dict[str, object]:
    """Write ``<sha256>.tar.gz`` into the directory ``out``; return its ``sha256``, ``size`` and ``release``.

    :param directory: the files of the revision, and what was built there; it is not changed.
    :param app: what the app is called on droplets.
    :param committed: the commit's date, in seconds since the epoch.
    :param perl: the path of the perl that the app was built for.
    :param links: links that the release gets, by path.
    :raises AgentError: if this cannot be a release; the text names the file.
    """
    _require(re.fullmatch(APP, app), f"{app}: it is no app")
    _require(re.fullmatch(REVISION, revision), f"{revision}: it is no revision of 40 hexadecimal digits")
    for leads_to in links.values():
        _require(may_be_linked_to(app, leads_to), f"{leads_to}: no link of a release may lead there")
    inside = directory.resolve() in (out.resolve(), *out.resolve().parents)
    _require(
        not inside, f"{out}: the artifact cannot be in what it is made of; give another directory by --out"
    )
    built_for = perl_key(perl)
    _require(built_for, f"{perl} does not run here, or others than root may change it")
    with TemporaryDirectory(dir=out) as place:
        tree = Path(place) / "tree"
        shutil.copytree(directory, tree, symlinks=True, ignore=_no_repository(directory))
        make_way(tree, ".bluegreen", "REVISION")
        take_over(tree, links.values())
        manifest = seal(tree, app, revision, committed, built_for, links)
        packed = Path(place) / "artifact.tar.gz"
        artifact = pack(tree, packed, app)
        target = out / f"{artifact['sha256']}.tar.gz"
        packed.replace(target)
    return {"sha256": artifact["sha256"], "size": artifact["size"], "release": manifest.release}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m agent.pack_artifact",
        description="Make an artifact of what was built, and print its SHA-256 as part of a JSON object.",
    )
    parser.add_argument("directory", type=Path, help="the files of the revision, and what was built there")
    parser.add_argument("--app", required=True, help="the app's id, the name of its file without .yaml")
    parser.add_argument("--revision", required=True, help="the commit, 40 hexadecimal digits")
    parser.add_argument("--committed", required=True, type=int, help="its date: git log -1 --format=%%ct")
    parser.add_argument("--perl", default="/usr/bin/perl", help="server.perl of the app file")
    parser.add_argument(
        "--link",
        action="append",
        default=[],
        metavar="PATH=TARGET",
        help="for each path of shared, and each file of files in the release: where it is on a droplet",
    )
    parser.add_argument("--out", type=Path, default=Path(), help="the directory for the artifact")
    return parser


def _link(text: str) -> tuple[str, str]:
    path, _, target = text.partition("=")
    return path, target


def _no_repository(directory: Path) -> Callable[[str, list[str]], list[str]]:
    """Return what leaves the repository itself out, if it is there."""

    def ignored(place: str, names: list[str]) -> list[str]:
        return [".git"] if Path(place) == directory and ".git" in names else []

    return ignored


def _require(met: object, otherwise: str) -> None:
    if not met:
        raise AgentError(Code.BAD_REQUEST, otherwise)


if __name__ == "__main__":
    sys.exit(main())
