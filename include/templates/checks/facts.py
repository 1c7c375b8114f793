"""Print facts of this machine as JSON: what a deploy finds there. Reads only; nothing is installed.

It is sent over SSH together with the modules beside it, see boot.py; the request, which may hold a secret,
comes on standard input. Standard library only, Python 3.8 or later.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from application import NO_ENVIRONMENT, app_environment, load
from bounded import COMMAND_SECONDS, Deadline, names_in, run, text_of
from certificates import certificates
from comparison import compared
from network import mirror, pages, probes
from nobody import Beneath, as_nobody
from users import as_user, environment_of, has_user

LARGEST_FILE = 256 << 10
LARGEST_ANSWER = 1500 << 10
LONGEST_LINE = 300
# Less than Airflow's own SPARE_SECONDS.
LATE_SECONDS = 3
PERL_KEY = r'print "$Config{version} $Config{archname}\n"'
UNIT_PROPERTIES = "ActiveState,UnitFileState,NeedDaemonReload,MainPID,DropInPaths"


def main(request):
    """Print one line of JSON; or, on standard error, why there is none, and end with status 1."""
    os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    os.chdir("/")
    kinds = {"app_server": app_server, "load_balancer": load_balancer, "load": load, "mirror": mirror}
    # Whatever hangs then, Airflow is told of it before it takes this machine for lost.
    signal.signal(signal.SIGALRM, lambda *_: _fail(f"they are not whole after {request['seconds']:.0f} s"))
    signal.alarm(int(request["seconds"]) + LATE_SECONDS)
    answer = json.dumps(kinds[request["kind"]](Deadline(request["seconds"]), request))
    if len(answer) > LARGEST_ANSWER:
        _fail(f"they are larger than {LARGEST_ANSWER >> 10} KB")
    print(answer)


def _fail(why):
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(1)


def machine(deadline, request):
    """What is asked of every droplet."""
    memory = dict(line.split(":", 1) for line in (text_of("/proc/meminfo") or "").splitlines())
    disk = os.statvfs("/opt" if Path("/opt").is_dir() else "/")
    return {
        "uid": os.getuid(),
        "clock": time.time(),
        "disk_free_mb": disk.f_bavail * disk.f_frsize >> 20,
        "inodes_free": disk.f_favail if disk.f_files else None,
        "memory_mb": int(memory["MemTotal"].split()[0]) >> 10,
        "memory_free_mb": int(memory["MemAvailable"].split()[0]) >> 10,
        "files": {path: text_of(path, LARGEST_FILE) for path in request["files"]},
        "unit": unit_state(deadline, request["unit"]),
    }


def unit_state(deadline, unit):
    """Return a unit's properties in systemd's words."""
    lines = run(deadline, "systemctl", "show", unit, f"--property={UNIT_PROPERTIES}")[1].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def perl_key(deadline):
    """What modules written in C are built for, as in ``build.sh``."""
    said = run(deadline, "perl", "-MConfig", "-e", PERL_KEY), run(deadline, "getconf", "GNU_LIBC_VERSION")
    return "".join(output for _, output in said)


def app_server(deadline, request):
    """What a deploy finds on an application droplet."""
    root = f"/opt/{request['app']}"
    needed = (request["fetch_user"], request["build_user"], request["run_user"])
    users = {user: has_user(user) for user in needed}
    current = target_of(f"{root}/current")
    releases = [name for name in names_in(f"{root}/releases") if re.fullmatch("[0-9a-f]{40}", name)]
    tools = {tool: version_of(deadline, tool) for tool in ("perl", "carton", "git", "cc", "make")}
    run_user = request["run_user"]
    environment = (
        app_environment(deadline, request["environment"], run_user) if users[run_user] else NO_ENVIRONMENT
    )
    facts = {
        **machine(deadline, request),
        "tools": tools,
        "missing_users": [user for user, exists in users.items() if not exists],
        "disk_reserved_mb": size_of(f"{root}/reserve/room") >> 20,
        "inodes_reserved": count_in(f"{root}/reserve"),
        "perl_key": perl_key(deadline),
        "current": current,
        "releases": releases,
        "activated": names_in(f"{root}/activated"),
        "cache": [name for name in names_in(f"{root}/cache") if ".partial." not in name],
        "jobs": running_jobs(deadline, request["app"]),
        "environment": {
            "error": environment.error,
            "ignored": environment.ignored,
            "ignored_unnamed": environment.ignored_unnamed,
        },
        "remote": None,
        "load": None,
        "compared": None,
    }
    facts["running"] = target_of(f"/proc/{facts['unit'].get('MainPID')}/cwd")
    if current in releases:
        facts.update(written_into(deadline, f"{root}/releases/{current}"))
    if users[request["fetch_user"]] and tools["git"]:
        git = Git(deadline, request["fetch_user"])
        facts["remote"] = remote(git, request)
        if current in releases:
            release = f"{root}/releases/{current}"
            facts["compared"] = compared(deadline, git, Path(f"{root}/repo.git"), current, release)
    if request["load"] and request["load"] in releases and users[run_user]:
        facts["load"] = load(deadline, request, environment)
    return facts


def written_into(deadline, release):
    """What a deploy has written into a release, as everybody can read it."""

    def read():
        there = Beneath(release)
        return {
            "stated": (there.text("REVISION", LONGEST_LINE) or "").strip(),
            "start": there.text(".bluegreen/start", LARGEST_FILE),
        }

    return as_nobody(deadline.left(COMMAND_SECONDS), read)[0] or {"stated": "", "start": None}


def size_of(path):
    """Return a file's size in bytes; 0 if there is none."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def count_in(directory):
    """Return how many files root has put into a directory; 0 if there is none."""
    try:
        with os.scandir(directory) as found:
            return sum(1 for _ in found)
    except OSError:
        return 0


def target_of(link):
    """The last part of what a link leads to, or None if it is no link."""
    try:
        return Path(os.readlink(link)).name  # noqa: PTH115
    except OSError:
        return None


class Git:
    """Git as the user who fetches."""

    def __init__(self, deadline, user):
        self.deadline = deadline
        self.command = (*as_user(user), "git")
        self.environment = {
            **environment_of(user),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            # ssh would write down other keys of a server that it knows.
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o UpdateHostKeys=no",
        }

    def __call__(self, *arguments):
        return run(self.deadline, *self.command, *arguments, env=self.environment)

    def start(self, *arguments):
        """Start it, to read what it writes meanwhile."""
        command, pipe = (*self.command, *arguments), subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=self.environment
        )

    @staticmethod
    def fatal(process):
        """Return the last line that a process that has ended has written to standard error."""
        with process.stderr as pipe:
            said = os.read(pipe.fileno(), 65536).decode(errors="replace").strip().splitlines()
        return said[-1][:LONGEST_LINE] if said else ""


def version_of(deadline, tool):
    """Return a tool's version, or None if it is not there or broken."""
    path = shutil.which(tool)
    if path is None:
        return None
    status, output = run(deadline, path, "--version")
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if status == 0 and found else None


def running_jobs(deadline, app):
    """Return the units of deploys that are at work."""
    listed = run(
        deadline, "systemctl", "list-units", "--plain", "--no-legend", "--full", f"bluegreen-{app}-*"
    )[1]
    rows = [line.split() for line in listed.splitlines()]
    return [row[0] for row in rows if len(row) > 3 and row[3] == "running"]


def remote(git, request):
    """What the repository says to this machine; nothing is fetched."""
    status, output = git("ls-remote", "--", request["repository"], *request["patterns"])
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        fatal = [line for line in said if line.startswith("fatal:")]
        return {"error": (fatal or said[-1:] or ["no reason given"])[0][:LONGEST_LINE], "refs": {}}
    rows = [line.split("\t", 1) for line in output.splitlines() if "\t" in line]
    return {"error": None, "refs": {name: revision for revision, name in rows}}


def load_balancer(deadline, request):
    """What a deploy finds on a load balancer, besides what its agent says."""
    path = request["certificate"]
    found, more = certificates(path) if path else (None, 0)
    return {
        **machine(deadline, request),
        "config_error": config_error(deadline, request["config"]) if request["config"] else None,
        "certificates": found,
        "more_certificates": more,
        "probes": probes(deadline, request),
        "pages": pages(deadline, request),
    }


def config_error(deadline, config):
    """Why HAProxy refuses a configuration; empty if it does not. It reads it from its standard input."""
    if shutil.which("haproxy") is None:
        return "haproxy is not installed"
    if not Path("/etc/haproxy/traffic.map").exists():
        # The first deploy writes it.
        config = config.replace("/etc/haproxy/traffic.map", "/dev/null")
    status, output = run(deadline, "haproxy", "-c", "-f", "/dev/stdin", text=config)
    if status == 0:
        return ""
    alerts = [line for line in output.splitlines() if "ALERT" in line] or output.splitlines()
    return alerts[0][:LONGEST_LINE] if alerts else "no reason given"
