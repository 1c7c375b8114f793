"""Checks of single droplets: everything that a deploy needs there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.droplet import reserve
from agent.droplet.perl_key import shown_key
from bluegreen.checks.dependencies import COMPILERS, PROGRAMS
from bluegreen.checks.facts import AppServer, Facts, Machine, Proxy, Reading
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.checks.gather.expected import environment_path
from bluegreen.checks.release_facts import AppEnvironment
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet

# A deploy itself needs half of it: another app may be deployed on the same droplet meanwhile.
MIN_FREE_MB, MIN_FREE_INODES = 2 * reserve.MIN_FREE_MB, 2 * reserve.MIN_FREE_INODES
# A proxy needs room for its state only.
MIN_FREE_MB_PROXY = 20
MIN_FREE_MEMORY_MB = 100
# Seconds. Beyond it, times in logs and certificates begin to be wrong.
MAX_CLOCK_OFFSET = 5.0


def reachable(facts: Facts) -> Iterator[Finding]:
    """Airflow can log in to every droplet, which has the host key that was recorded for it."""
    refused = {one.droplet for one in facts.joining.refused}
    for droplet, reading in _readings(facts):
        if isinstance(reading.answer, BlueGreenError) and droplet not in refused:
            judge = _judge(facts, droplet)
            yield judge(droplet.name, str(reading.answer), "nothing else is known about it until then")


def login(facts: Facts) -> Iterator[Finding]:
    """Airflow logs in as root, so no sudo rules are needed."""
    for droplet, machine in _machines(facts):
        if machine.uid != 0:
            yield error(
                droplet.name,
                f"Airflow logs in as the user {machine.uid}, not as root",
                f"set the login of connection {facts.app.connections.ssh} to root",
            )


def room(facts: Facts) -> Iterator[Finding]:
    """There is enough disk and memory."""
    for droplet, machine in _machines(facts):
        judge = _judge(facts, droplet)
        needed = MIN_FREE_MB if isinstance(machine, AppServer) else MIN_FREE_MB_PROXY
        reserved = machine.disk_reserved_mb if isinstance(machine, AppServer) else 0
        files_reserved = machine.inodes_reserved if isinstance(machine, AppServer) else 0
        free = f"only {machine.disk_free_mb} MB of disk are free"
        advice = "remove what is not needed, or resize it"
        if machine.disk_free_mb + reserved < needed:
            yield judge(droplet.name, f"{free}, {needed} are needed", advice)
        elif machine.disk_free_mb < needed:
            yield warning(droplet.name, f"{free}; the next deploy may use a reserve of {reserved} MB", advice)
        files = f"its file system has room for only {machine.inodes_free} more files"
        if machine.inodes_free is None or machine.inodes_free >= MIN_FREE_INODES:
            pass
        elif machine.inodes_free + files_reserved < MIN_FREE_INODES:
            yield judge(droplet.name, f"{files}, {MIN_FREE_INODES} are needed", "remove what is not needed")
        else:
            kept = f"{files}; the next deploy may use a reserve of {files_reserved}"
            yield warning(droplet.name, kept, "remove what is not needed")
        if machine.memory_free_mb < MIN_FREE_MEMORY_MB:
            yield warning(
                droplet.name,
                f"only {machine.memory_free_mb} MB of {machine.memory_mb} MB of memory are free",
                "look at what runs there, or resize it",
            )


def clock(facts: Facts) -> Iterator[Finding]:
    """Its clock agrees with Airflow's."""
    for droplet, reading in _readings(facts):
        if isinstance(reading.answer, Machine):
            offset = max(reading.asked - reading.answer.clock, reading.answer.clock - reading.answered, 0)
            if offset > MAX_CLOCK_OFFSET:
                yield warning(
                    droplet.name,
                    f"its clock differs from Airflow's by {offset:.0f} s",
                    "look at systemd-timesyncd there, and on Airflow's machine",
                )


def tools(facts: Facts) -> Iterator[Finding]:
    """The programs that a release is built and run with are installed, and the users exist.

    Only the first droplet of a color builds: on the others nothing is installed from source.
    """
    for droplet, server in facts.read_servers():
        judge = _judge(facts, droplet)
        perl = facts.app.server.perl
        if server.perl_changeable is not None:
            yield judge(
                droplet.name,
                f"{perl} is not used: others than root may change {server.perl_changeable}",
                "give it to root, mode 755, or set server.perl to another one",
            )
        elif server.tools.get(perl) is None:
            yield judge(
                droplet.name, f"{perl} is not installed, or broken", "install perl, or set server.perl"
            )
        for user in server.missing_users:
            yield judge(
                droplet.name, f"the user {user} does not exist", f"run adduser --system --group {user}"
            )
        programs = PROGRAMS[facts.app.dependencies.installer]
        if not _may_build(facts, droplet) or not programs:
            continue
        for program in programs:
            if server.tools.get(program) is None:
                yield judge(
                    droplet.name,
                    f"{program} is not installed, or broken",
                    f"install {program}, or set dependencies.installer",
                )
        if missing := [tool for tool in COMPILERS if server.tools.get(tool) is None]:
            yield warning(
                droplet.name,
                f"no {' and no '.join(missing)}, so modules written in C cannot be built",
                "install build-essential",
            )


def perls(facts: Facts) -> Iterator[Finding]:
    """The droplets of a color have one perl: compiled modules fit that of the droplet that built them."""
    servers = dict(facts.read_servers())
    for color in Color:
        members = [one for one in facts.fleet.color(color) if one in servers and servers[one].perl_key]
        for droplet in members[1:]:
            builder, key = members[0], servers[droplet].perl_key
            if key != servers[builder].perl_key:
                judge = _judge(facts, droplet)
                yield judge(
                    droplet.name,
                    f"it has {shown_key(key)}, but {builder.name}, which builds for {color}, has "
                    f"{shown_key(servers[builder].perl_key)}",
                    "give the droplets of a color the same image and Debian packages",
                )


def _may_build(facts: Facts, droplet: Droplet) -> bool:
    """Whether a droplet is the builder of the next deploy, or of the one after it."""
    return any(droplet == next(iter(facts.fleet.color(color)), None) for color in Color)


def packages(facts: Facts) -> Iterator[Finding]:
    """The Debian packages that the app needs are installed, or can be."""
    for droplet, server in facts.read_servers():
        missing = [one for one in server.missing_packages if one not in server.unknown_packages]
        if server.unknown_packages:
            judge = _judge(facts, droplet)
            yield judge(
                droplet.name,
                f"its package sources do not have {', '.join(server.unknown_packages)} (fleet.packages)",
                "correct the name, or run apt-get update there",
            )
        if missing:
            yield warning(
                droplet.name,
                f"{', '.join(missing)} (fleet.packages) {'is' if len(missing) == 1 else 'are'} not installed",
                "the next deploy to this droplet installs what is missing",
            )


def package_versions(facts: Facts) -> Iterator[Finding]:
    """All droplets have the same versions of the Debian packages that the app needs."""
    having: dict[str, dict[str, list[str]]] = {}
    for droplet, server in facts.read_servers():
        for package, version in server.package_versions.items():
            having.setdefault(package, {}).setdefault(version, []).append(droplet.name)
    for package, versions in having.items():
        if len(versions) > 1:
            shown = "; ".join(f"{version} on {', '.join(names)}" for version, names in versions.items())
            yield warning(
                "fleet.packages",
                f"the droplets have different versions of {package}: {shown}",
                "upgrade the older ones, or rebuild them and provision",
            )


def environment(facts: Facts) -> Iterator[Finding]:
    """Systemd can read the whole environment of the app."""
    path = environment_path(facts.app)
    for droplet, server in facts.read_servers():
        if server.environment.error:
            judge = _judge(facts, droplet)
            yield judge(
                droplet.name,
                f"systemd cannot read {path}, so the app would not start: {server.environment.error}",
                "write one NAME=value a line there, as text in UTF-8",
            )
        if ignored := _ignored(server.environment):
            yield warning(
                droplet.name,
                f"systemd ignores lines of {path}: {ignored}",
                "a name is letters, digits and underscores, with nothing before it, not even export; "
                "a value of several lines stands in quotes",
            )
        if server.environment.changeable:
            yield warning(
                droplet.name,
                f"others than root can change {path}, and with it what the app does",
                f"run chown root: {path} and chmod 600 {path} there",
            )
        elif server.environment.readable:
            yield warning(
                droplet.name,
                f"everybody on the droplet can read {path}",
                f"run chmod 600 {path} there: systemd reads it as root, and the app does not need to",
            )


def _ignored(found: AppEnvironment) -> str:
    """Return which lines of an environment file systemd leaves out; empty if none."""
    count = found.ignored_unnamed
    unnamed = [f"{count} that {'is' if count == 1 else 'are'} no assignment"] if count else []
    return " and ".join([*([", ".join(found.ignored)] if found.ignored else []), *unnamed])


def jobs(facts: Facts) -> Iterator[Finding]:
    """Nothing is being built or deployed right now."""
    for droplet, server in facts.read_servers():
        for job in server.jobs:
            yield warning(droplet.name, f"the job {job} is at work", "wait for its end")
        for run_id in server.commands:
            yield warning(
                droplet.name,
                f"the one-off command of the run {run_id} is at work",
                "a deploy leaves it alone, so it may go on beside the next release",
            )


def _judge(facts: Facts, droplet: Droplet) -> Callable[[str, str, str], Finding]:
    """Return ``error`` for droplets that the next deploy needs, ``warning`` for the others."""
    return error if facts.is_needed(droplet) else warning


def _readings(facts: Facts) -> Iterator[tuple[Droplet, Reading[AppServer] | Reading[Proxy]]]:
    for droplet in facts.fleet.droplets:
        reading = facts.servers.get(droplet.name) or facts.proxies.get(droplet.name)
        if reading is not None:
            yield droplet, reading


def _machines(facts: Facts) -> Iterator[tuple[Droplet, Machine]]:
    for droplet, reading in _readings(facts):
        if isinstance(reading.answer, Machine):
            yield droplet, reading.answer
