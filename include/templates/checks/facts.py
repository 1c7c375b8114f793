"""Print facts of this machine as JSON: what a deploy finds there. Reads only; nothing is installed.

Sent over SSH as an argument of ``python3 -c``; the request, which may hold a secret, comes on standard input.
Standard library only, Python 3.8 or later.
"""

import contextlib
import difflib
import http.client
import itertools
import json
import os
import pwd
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.update(LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
os.chdir("/")

COMMAND_SECONDS = 15
MIRROR_SECONDS, REQUESTS_AT_ONCE = 8, 8
LARGEST_TEXT = 1 << 20
FILES_SHOWN, DIFFS_SHOWN, DIFF_LINES_SHOWN = 20, 5, 40
UNIT_PROPERTIES = "ActiveState,UnitFileState,NeedDaemonReload,MainPID,DropInPaths"

REQUEST = json.load(sys.stdin)
# Airflow takes a machine that says nothing for that long for lost.
ENDS = time.monotonic() + REQUEST["seconds"]

# In namespaces of its own, which end with the command, together with whatever it started: every mount is
# read-only there, and what is for temporary files is empty. Nothing is run where that fails.
CONFINED = "bluegreen: confined"
CONFINE = r"""
set -e
# When memory is short, it must not be the service that is ended.
echo 1000 >/proc/self/oom_score_adj
# Else mount adds what fstab says of a mount to what is said here.
export LIBMOUNT_FSTAB=/dev/null
mounts=$(cat /proc/self/mountinfo)
printf '%s\n' "$mounts" | while read -r _ _ _ _ point options rest; do
    case "$options $rest" in
        # Whoever touches what systemd mounts on demand asks for that; by itself it cannot be written.
        ro* | *" - autofs "*) ;;
        # Spaces in a path are written as numbers.
        *) mount -n -o "remount,bind,ro${options#rw}" "$(printf %b "$point")" ;;
    esac
done
for directory in /tmp /var/tmp /dev/shm; do
    mount -n -t tmpfs none "$directory"
done
mount -n -t proc none /proc
unset LIBMOUNT_FSTAB
echo "$0"
status=0
nice -n 19 "$@" || status=$?
# Not as the last command, which the shell would become: when the first process ends, all others do.
exit "$status"
"""
NAMESPACES = ("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--")


def left(seconds):
    """That many seconds, or what is left of the time that all of this may take."""
    return max(1, min(seconds, ENDS - time.monotonic()))


def run(*command, text="", seconds=COMMAND_SECONDS, env=None):
    """Return exit status and output; 124 if it took too long, 127 if there is no such command."""
    try:
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=left(seconds),
            env=env,
        )
    except subprocess.TimeoutExpired as late:
        return 124, f"no end within {late.timeout:.0f} s"
    except OSError as error:
        return 127, str(error)
    return done.returncode, done.stdout


def text_of(path):
    """Return a file's text, or None if there is none."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            return file.read(LARGEST_TEXT)
    except OSError:
        return None


def unit_state(unit):
    lines = run("systemctl", "show", unit, f"--property={UNIT_PROPERTIES}")[1].splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def target_of(link):
    """The last part of what a link leads to, or None if it is no link."""
    try:
        return Path(os.readlink(link)).name  # noqa: PTH115
    except OSError:
        return None


def size_of(path):
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def names_in(directory):
    try:
        return sorted(entry.name for entry in os.scandir(directory))
    except OSError:
        return []


def machine(request):
    memory = dict(line.split(":", 1) for line in (text_of("/proc/meminfo") or "").splitlines())
    disk = os.statvfs("/opt" if Path("/opt").is_dir() else "/")
    return {
        "uid": os.getuid(),
        "clock": time.time(),
        "disk_free_mb": disk.f_bavail * disk.f_frsize >> 20,
        "inodes_free": disk.f_favail if disk.f_files else None,
        "memory_mb": int(memory["MemTotal"].split()[0]) >> 10,
        "memory_free_mb": int(memory["MemAvailable"].split()[0]) >> 10,
        "files": {path: text_of(path) for path in request["files"]},
        "unit": unit_state(request["unit"]),
    }


def app_server(request):
    root = f"/opt/{request['app']}"
    needed = (request["fetch_user"], request["build_user"], request["run_user"])
    users = {user: has_user(user) for user in needed}
    current = target_of(f"{root}/current")
    facts = {
        **machine(request),
        "tools": {tool: version_of(tool) for tool in ("perl", "carton", "git", "cc", "make")},
        "missing_users": [user for user, exists in users.items() if not exists],
        "disk_reserved_mb": size_of(f"{root}/reserve") >> 20,
        "perl_key": run("perl", "-MConfig", "-e", r'print "$Config{version} $Config{archname}\n"')[1],
        "current": current,
        "releases": [name for name in names_in(f"{root}/releases") if re.fullmatch("[0-9a-f]{40}", name)],
        "activated": names_in(f"{root}/activated"),
        "cache": [name for name in names_in(f"{root}/cache") if ".partial." not in name],
        "jobs": running_jobs(request["app"]),
        "remote": None,
        "load": None,
        "compared": None,
    }
    facts["running"] = target_of(f"/proc/{facts['unit'].get('MainPID')}/cwd")
    release = f"{root}/releases/{current}" if current else None
    if release:
        facts["stated"] = (text_of(f"{release}/REVISION") or "").strip()
        facts["start"] = text_of(f"{release}/.bluegreen/start")
    if users[request["fetch_user"]] and facts["tools"]["git"]:
        git = Git(request["fetch_user"])
        facts["remote"] = remote(git, request)
        if current in facts["releases"]:
            facts["compared"] = compared(git, Path(f"{root}/repo.git"), current, Path(release))
    wanted = request["load"]
    if wanted and wanted in facts["releases"] and users[request["run_user"]]:
        facts["load"] = load(request)
    return facts


def has_user(name):
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def as_user(user):
    group = pwd.getpwnam(user).pw_gid
    return ("setpriv", f"--reuid={user}", f"--regid={group}", "--init-groups", "--no-new-privs")


def environment_of(user):
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user, "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}


class Git:
    """Git as the user who fetches."""

    def __init__(self, user):
        self.command = (*as_user(user), "git")
        self.environment = {
            **environment_of(user),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "http:https:ssh",
            "GIT_OPTIONAL_LOCKS": "0",
            # ssh would write down other keys of a server that it knows.
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o UpdateHostKeys=no",
        }

    def __call__(self, *arguments):
        return run(*self.command, *arguments, env=self.environment)

    def start(self, *arguments):
        """Start it, to read what it writes meanwhile."""
        command, pipe = (*self.command, *arguments), subprocess.PIPE
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=self.environment
        )


def version_of(tool):
    path = shutil.which(tool)
    if path is None:
        return None
    status, output = run(path, "--version")
    found = re.search(r"\d+(\.\d+)+", output)
    return found[0] if status == 0 and found else None


def running_jobs(app):
    listed = run("systemctl", "list-units", "--plain", "--no-legend", "--full", f"bluegreen-{app}-*")[1]
    rows = [line.split() for line in listed.splitlines()]
    return [row[0] for row in rows if len(row) > 3 and row[3] == "running"]


def remote(git, request):
    """What the repository says to this machine; nothing is fetched."""
    status, output = git("ls-remote", "--", request["repository"], *request["patterns"])
    if status != 0:
        said = [line for line in output.splitlines() if line.strip()]
        fatal = [line for line in said if line.startswith("fatal:")]
        return {"error": (fatal or said[-1:] or ["no reason given"])[0], "refs": {}}
    rows = [line.split("\t", 1) for line in output.splitlines() if "\t" in line]
    return {"error": None, "refs": {name: revision for revision, name in rows}}


def mirror(request):
    """Which distributions no mirror has, as far as there is time to ask for them; nothing is fetched."""
    ends = time.monotonic() + left(MIRROR_SECONDS)
    # The user who builds has no proxy either.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path):
        return is_on_a_mirror(opener, request["mirrors"], path) if time.monotonic() < ends else None

    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        said = dict(zip(request["distributions"], pool.map(ask, request["distributions"])))  # noqa: B905
    return {
        "error": next((one for one in said.values() if isinstance(one, str)), None),
        "missing": [path for path, one in said.items() if one is False],
        "unasked": sum(one is None for one in said.values()),
    }


def is_on_a_mirror(opener, mirrors, path):
    """Whether one has it; why the first did not answer that did not, if none that answers has it."""
    trouble = ""
    for url in mirrors:
        address = f"{url}authors/id/{urllib.parse.quote(path)}"
        try:
            question = urllib.request.Request(address, method="HEAD")  # noqa: S310
            with opener.open(question, timeout=left(MIRROR_SECONDS / 2)):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 429 or error.code >= 500:
                trouble = trouble or f"status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            trouble = trouble or str(getattr(error, "reason", error)) or type(error).__name__
    return trouble or False


def compared(git, mirror, revision, release):
    """How a release differs from what ``git archive`` says now: it was made so, attributes and all."""
    if not mirror.is_dir():
        return {"problem": f"there is no {mirror} to compare with"}
    seconds = left(COMMAND_SECONDS)
    process = git.start("-C", str(mirror), "archive", "--format=tar", revision)
    late = threading.Timer(seconds, process.kill)
    late.start()
    found, committed = [], set()
    try:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                if not member.isdir() and not is_built(member.name):
                    committed.add(member.name)
                    found += changed(member, archive, release)
        ended = ""
    except tarfile.ReadError as error:
        ended = str(error)
    finally:
        said = process.communicate()[1].decode(errors="replace").strip().splitlines()
        late.cancel()
    if process.returncode != 0 or ended:
        return {
            "problem": (said or [f"no end within {seconds:.0f} s" if process.returncode < 0 else ended])[-1]
        }
    found += [
        {"path": path, "what": "it was not committed", "diff": []} for path in added(release, committed)
    ]
    unclear = [
        one["path"] for one in found[:FILES_SHOWN] if is_drawn_anew(git, mirror, revision, one["path"])
    ]
    shown = [one for one in found[:FILES_SHOWN] if one["path"] not in unclear]
    for one in shown[DIFFS_SHOWN:]:
        one["diff"] = []
    return {"problem": None, "files": shown, "more": max(0, len(found) - FILES_SHOWN), "unclear": unclear}


def is_built(path):
    """Whether the build writes it, or removes it, whatever was committed."""
    return path.split("/")[0] in ("local", ".bluegreen", "REVISION")


def is_drawn_anew(git, mirror, revision, path):
    """Whether ``export-subst`` may put something else into a file today: an age, or the names of branches."""
    return "$Format:" in git("-C", str(mirror), "cat-file", "blob", f"{revision}:{path}")[1]


def changed(member, archive, release):
    """Say in a list how a file of a release is not as it was committed; it is empty if it is."""
    file = release / member.name
    try:
        there = file.lstat()
    except OSError:
        return [{"path": printable(member.name), "what": "it is not there", "diff": []}]
    diff = []
    if not stat.S_ISREG(there.st_mode) or not member.isfile():
        if stat.S_ISLNK(there.st_mode) and os.readlink(file) == member.linkname:  # noqa: PTH115
            return []
    elif max(there.st_size, member.size) > LARGEST_TEXT:
        with file.open("rb") as now:
            if there.st_size == member.size and is_same(archive.extractfile(member), now):
                return []
    else:
        was, now = archive.extractfile(member).read(), file.read_bytes()
        if was == now:
            return []
        diff = lines_between(was, now)
    return [{"path": printable(member.name), "what": "it is not as it was committed", "diff": diff}]


def is_same(one, other):
    while True:
        left_part, right_part = one.read(LARGEST_TEXT), other.read(LARGEST_TEXT)
        if left_part != right_part or not left_part:
            return left_part == right_part


def lines_between(was, now):
    if b"\0" in was + now:
        return []
    texts = (text.decode(errors="replace").splitlines() for text in (was, now))
    lines = difflib.unified_diff(*texts, "committed", "on the droplet", lineterm="")
    return list(itertools.islice(lines, DIFF_LINES_SHOWN))


def added(release, committed):
    """The files of a release that neither the commit nor the build has put there."""
    for directory, names, files in os.walk(release):
        names.sort()
        for name in sorted(files) + [name for name in names if Path(directory, name).is_symlink()]:
            path = os.path.relpath(os.path.join(directory, name), release)  # noqa: PTH118
            if path not in committed and not is_built(path):
                yield printable(path)


def printable(path):
    """A path that can be sent as JSON, whatever bytes it is made of."""
    return os.fsencode(path).decode(errors="replace")


def load(request):
    """Load an application as a deploy does, where it can write nothing; the status is None if it was not."""
    user, release = request["run_user"], f"/opt/{request['app']}/releases/{request['load']}"
    # They may be secrets, so they stay out of the process list.
    env = {**environment_of(user), **variables_in(text_of(f"/etc/default/{request['app']}") or "")}
    check = (*as_user(user), f"{release}/.bluegreen/start", "check")
    status, output = run(*NAMESPACES, "sh", "-c", CONFINE, CONFINED, *check, env=env)
    said = [line for line in output.splitlines() if line.strip() and line != CONFINED]
    causes = [line for line in said if re.search(r"^Can't locate| at .+ line \d+", line)]
    cause = (causes or said[-1:] or [""])[0]
    if status != 124 and CONFINED not in output.splitlines():
        return {"status": None, "cause": f"it could not be kept from writing: {cause}", "read_only": False}
    return {
        "status": status,
        "cause": cause.replace(f"{release}/", ""),
        "read_only": bool(re.search("Read-only|readonly database|unable to open database file", output)),
    }


def variables_in(text):
    """An EnvironmentFile of systemd, as far as it is plain."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.fullmatch(r"[A-Za-z_]\w*", name):
            try:
                found[name] = " ".join(shlex.split(value))
            except ValueError:
                found[name] = value
    return found


def load_balancer(request):
    return {
        **machine(request),
        "config_error": config_error(request["config"]) if request["config"] else None,
        "certificate": certificate(request["certificate"]) if request["certificate"] else None,
        "probes": probes(request["servers"], request["path"], request["headers"]),
        "pages": pages(request["page_server"], request["pages"], request["headers"]),
    }


def config_error(config):
    """Why HAProxy refuses a configuration; empty if it does not. It reads it from its standard input."""
    if shutil.which("haproxy") is None:
        return "haproxy is not installed"
    if not Path("/etc/haproxy/traffic.map").exists():
        # The first deploy writes it.
        config = config.replace("/etc/haproxy/traffic.map", "/dev/null")
    status, output = run("haproxy", "-c", "-f", "/dev/stdin", text=config)
    if status == 0:
        return ""
    alerts = [line for line in output.splitlines() if "ALERT" in line] or output.splitlines()
    return alerts[0] if alerts else "no reason given"


def certificate(path):
    """The public part of a PEM file; the private key stays here."""
    text = text_of(path)
    if text is None:
        return {"error": "it cannot be read", "pem": ""}
    found = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", text, re.DOTALL)
    return {"error": "" if found else "it holds no certificate", "pem": "\n".join(found)}


def probes(servers, path, headers):
    """Ask each server itself, not by way of HAProxy, whose counters stay as they are; read heads only."""
    answers = at_once(lambda server: ask(server, path, headers), servers)
    return {server["name"]: answer for server, answer in zip(servers, answers)}  # noqa: B905


def pages(server, paths, headers):
    """What one server answers to each path; nothing without a server."""
    answers = at_once(lambda path: ask(server, path, headers), paths) if server else []
    return {path: answer["status"] for path, answer in zip(paths, answers)}  # noqa: B905


def at_once(do, things):
    with ThreadPoolExecutor(max(1, len(things))) as pool:
        return list(pool.map(do, things))


def ask(server, path, headers):
    connection = http.client.HTTPConnection(server["address"], server["port"], timeout=5)
    # Its timeout is one for each byte: a head that drips in would never be late.
    ending = threading.Timer(5, cut, [connection])
    try:
        ending.start()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        if ending.finished.is_set():
            raise TimeoutError("its head did not come within 5 s")
        revision = answer.getheader("X-Revision", "")[:100] or None
        return {"status": answer.status, "revision": revision, "error": None}
    except (OSError, http.client.HTTPException) as error:
        return {"status": None, "revision": None, "error": str(error) or type(error).__name__}
    finally:
        ending.cancel()
        connection.close()


def cut(connection):
    with contextlib.suppress(AttributeError, OSError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def main():
    kinds = {"app_server": app_server, "load_balancer": load_balancer, "load": load, "mirror": mirror}
    print(json.dumps(kinds[REQUEST["kind"]](REQUEST)))


main()
