"""What a deploy finds on a droplet that runs an app."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from agent.facts.bounded import COMMAND_SECONDS, names_in, run, seconds_left
from agent.facts.comparison import compared
from agent.facts.environment import NO_ENVIRONMENT, app_environment
from agent.facts.loading import load
from agent.facts.machine import LARGEST_FILE, machine
from agent.facts.nobody import Beneath, as_nobody
from agent.facts.repository import LONGEST_LINE, Git, remote
from agent.facts.users import has_user
from agent.protocol import Json
from agent.system import CallDeadline

TOOLS = ("perl", "carton", "git", "cc", "make")
# The same in build.sh, which names the installed dependencies by it.
PERL_KEY = r'print "$Config{version} $Config{archname}\n"'


def app_server(deadline: CallDeadline, request: Json) -> Json:
    """Return what a deploy finds on a droplet that runs an app.

    :param request: of :func:`machine`, and ``app`` (its name on the machine), ``fetch_user``, ``build_user``,
        ``run_user``, ``environment`` (the path of its environment file), ``repository`` and the ``patterns``
        to list there, ``compare`` (whether the current release is compared with its commit), ``load`` (a
        revision to be loaded, or None) and ``cage`` (the properties of the unit that it is loaded in).
        An empty repository is not asked.
    """
    app, run_user = request["app"], request["run_user"]
    needed = (request["fetch_user"], request["build_user"], run_user)
    users = {user: has_user(user) for user in needed}
    found = releases(f"/opt/{app}")
    tools = {tool: version_of(deadline, tool) for tool in TOOLS}
    environment = NO_ENVIRONMENT
    if users[run_user]:
        environment = app_environment(deadline, request["environment"], run_user)
    facts: dict[str, Any] = {
        **machine(deadline, request),
        **found,
        "tools": tools,
        "missing_users": [user for user, exists in users.items() if not exists],
        "perl_key": perl_key(deadline),
        "jobs": running_jobs(deadline, app),
        "environment": environment.as_json(),
        "remote": None,
        "load": None,
        "compared": None,
    }
    facts["running"] = target_of(f"/proc/{facts['unit'].get('MainPID')}/cwd")
    current = found["current"]
    is_release = current in found["releases"]
    if is_release:
        facts.update(written_into(deadline, f"/opt/{app}/releases/{current}"))
    if users[request["fetch_user"]] and tools["git"] and request["repository"]:
        git = Git(deadline, request["fetch_user"])
        facts["remote"] = remote(git, request)
        if is_release and request["compare"]:
            release, mirror = f"/opt/{app}/releases/{current}", Path(f"/opt/{app}/repo.git")
            facts["compared"] = compared(deadline, git, mirror, current, release)
    if request["load"] in found["releases"] and users[run_user]:
        facts["load"] = load(deadline, request, environment)
    return facts


def releases(root: str) -> Json:
    """Return the releases of an app and what is kept for the next, by the app's directory."""
    return {
        "disk_reserved_mb": size_of(f"{root}/reserve/room") >> 20,
        "inodes_reserved": count_in(f"{root}/reserve"),
        "current": target_of(f"{root}/current"),
        "releases": [name for name in names_in(f"{root}/releases") if re.fullmatch("[0-9a-f]{40}", name)],
        "activated": names_in(f"{root}/activated"),
        "cache": [name for name in names_in(f"{root}/cache") if ".partial." not in name],
    }


def written_into(deadline: CallDeadline, release: str) -> Json:
    """Return what a deploy has written into a release, as everybody can read it."""

    def read() -> Json:
        there = Beneath(release)
        return {
            "stated": (there.text("REVISION", LONGEST_LINE) or "").strip(),
            "start": there.text(".bluegreen/start", LARGEST_FILE),
        }

    return as_nobody(seconds_left(deadline, COMMAND_SECONDS), read)[0] or {"stated": "", "start": None}


def perl_key(deadline: CallDeadline) -> str:
    """Return what modules written in C are built for, as in ``build.sh``."""
    said = run(deadline, "perl", "-MConfig", "-e", PERL_KEY), run(deadline, "getconf", "GNU_LIBC_VERSION")
    return "".join(output for _, output in said)


def version_of(deadline: CallDeadline, tool: str) -> str | None:
    """Return a tool's version, or None if it is not there or broken."""
    path = shutil.which(tool)
    if path is None:
        return None
    status, output = run(deadline, path, "--version")
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if status == 0 and found else None


def running_jobs(deadline: CallDeadline, app: str) -> list[str]:
    """Return the units of deploys that are at work."""
    listed = run(
        deadline, "systemctl", "list-units", "--plain", "--no-legend", "--full", f"bluegreen-{app}-*"
    )[1]
    rows = [line.split() for line in listed.splitlines()]
    return [row[0] for row in rows if len(row) > 3 and row[3] == "running"]


def size_of(path: str) -> int:
    """Return a file's size in bytes; 0 if there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def count_in(directory: str) -> int:
    """Return how many files root has put into a directory; 0 if there is none."""
    try:
        with os.scandir(directory) as found:
            return sum(1 for _ in found)
    except OSError:
        return 0


def target_of(link: str) -> str | None:
    """Return the last part of what a link leads to, or None if it is no link."""
    try:
        return Path(os.readlink(link)).name  # noqa: PTH115
    except OSError:
        return None
