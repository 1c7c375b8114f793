"""The table of bad releases: what each does, to whom, and how its deploy ends. A line more is a cell more."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from demo.environment import APP
from tests.sandbox.stack import Stack

MODULE = Path(__file__).with_name("BadRelease.pm")

EVERYBODY = "everybody"
PROXIED = "all through HAProxy"
SWITCHED = "all after the switch"
CLIENTS = "only clients"
ONCE_CLIENTS_CAME = "all once clients came"
WHOM = (EVERYBODY, PROXIED, SWITCHED, CLIENTS, ONCE_CLIENTS_CAME)

REFUSED = "refused before the switch"
ROLLED_BACK = "rolled back"
# Whether own requests or a health check notice first is a matter of chance.
EITHER = (REFUSED, ROLLED_BACK)
KILLED = "all of Airflow is killed until the traffic is back"


@dataclass(frozen=True)
class BadRelease:
    """One bad release.

    :param how: what it does wrong; a key of ``%HOW``, or of ``%AS_IT_LOADS``, in ``BadRelease.pm``.
    :param whom: whom it answers badly; a key of ``%WHOM`` there.
    :param ends: how its deploy may end.
    :param fault: what goes wrong besides, as soon as traffic has moved; a key of ``FAULTS``.
    """

    how: str
    whom: str
    ends: tuple[str, ...]
    fault: str | None = None

    def __str__(self) -> str:
        return f"{self.how}, {self.whom}" + (f", {self.fault}" if self.fault else "")

    @property
    def tag(self) -> str:
        """What it is called in the repository."""
        return "bad-" + re.sub("[^a-z0-9]+", "-", f"{self.how} {self.whom}".lower())

    @property
    def is_quick(self) -> bool:
        """Whether it is part of every test run."""
        return (self.how, self.whom, self.fault) in QUICK


# By what it does: to whom, and how its deploy ends.
TABLE: dict[str, dict[str, tuple[str, ...]]] = {
    "drips its head": {
        EVERYBODY: (REFUSED,),
        PROXIED: (REFUSED,),
        SWITCHED: (REFUSED,),
        CLIENTS: (ROLLED_BACK,),
    },
    "drips its body": {EVERYBODY: EITHER, SWITCHED: (ROLLED_BACK,), CLIENTS: (ROLLED_BACK,)},
    "never ends its head": {EVERYBODY: (REFUSED,), SWITCHED: (REFUSED,), CLIENTS: (ROLLED_BACK,)},
    "never ends its body": {EVERYBODY: EITHER, SWITCHED: (ROLLED_BACK,)},
    "answers with 400 MB": {EVERYBODY: EITHER, SWITCHED: (ROLLED_BACK,)},
    "answers with huge headers": {EVERYBODY: (REFUSED,), SWITCHED: (REFUSED,), CLIENTS: (ROLLED_BACK,)},
    "says nothing": {SWITCHED: (REFUSED,), CLIENTS: (ROLLED_BACK,)},
    "hangs at its health path": {SWITCHED: (REFUSED,), ONCE_CLIENTS_CAME: (ROLLED_BACK,)},
    "drips at its health path": {PROXIED: (REFUSED,), ONCE_CLIENTS_CAME: (ROLLED_BACK,)},
    "answers only what is watched": {SWITCHED: (ROLLED_BACK,)},
    "has another revision": {EVERYBODY: (REFUSED,), SWITCHED: (REFUSED,)},
    "logs 50 MB/s": {SWITCHED: EITHER},
    "logs 50 MB/s as it loads": {EVERYBODY: (REFUSED,)},
    "forks away": {SWITCHED: EITHER},
    "forks away as it loads": {EVERYBODY: EITHER},
    "fills its disk": {SWITCHED: EITHER},
    "fills its disk with files": {SWITCHED: EITHER},
    "leaks memory": {CLIENTS: (ROLLED_BACK,)},
}

# The proxies are alone with these.
TABLE_OF_KILLED: dict[str, str] = {
    "drips its head": SWITCHED,
    "drips its body": SWITCHED,
    "hangs at its health path": ONCE_CLIENTS_CAME,
}

QUICK = {("answers only what is watched", SWITCHED, None)}

CELLS = [
    *(BadRelease(how, whom, ends) for how, cells in TABLE.items() for whom, ends in cells.items()),
    *(BadRelease(how, whom, (), KILLED) for how, whom in TABLE_OF_KILLED.items()),
]
assert {(cell.how, cell.whom, cell.fault) for cell in CELLS} >= QUICK
assert len({str(cell) for cell in CELLS}) == len(CELLS)
assert all(f"'{words}'" in MODULE.read_text() for cell in CELLS for words in (cell.how, cell.whom))

PSGI = """\
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use BadRelease;
use MyPerlApp;

BadRelease::app( MyPerlApp->new( home => $FindBin::Bin )->to_app, '{how}', '{whom}' );
"""


def publish(stack: Stack, directory: Path) -> None:
    """Push all of them to the sample app's repository, each made from v2, and let the stack know them.

    :param directory: for a clone; it must be empty.
    """
    _git(directory, "clone", "--quiet", str(stack.sandbox.repositories / f"{APP}.git"), ".")
    for cell in {cell.tag: cell for cell in CELLS}.values():
        _git(directory, "checkout", "--quiet", "--force", "--detach", "v2")
        (directory / "app.psgi").write_text(PSGI.format(how=cell.how, whom=cell.whom))
        (directory / "lib" / MODULE.name).write_bytes(MODULE.read_bytes())
        _git(directory, "add", "--all")
        _git(directory, "commit", "--quiet", "--message", str(cell))
        _git(directory, "tag", "--force", cell.tag)
        stack.revisions[cell.tag] = _git(directory, "rev-parse", "HEAD")
    _git(directory, "push", "--quiet", "--force", "origin", "refs/tags/bad-*")


def _git(directory: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=My Perl app", "-c", "user.email=my-perl-app@example.com")
    # Nobody's own settings may change what is committed.
    environment = {**os.environ, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-C", str(directory), *identity, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return done.stdout.strip()
