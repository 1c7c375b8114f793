#!/usr/bin/env python3
"""Load-balancer agent: reads and moves the traffic of one HAProxy. No daemon; one verb a call.

``lb_agent.py VERB [JSON]`` (JSON ``-``: read it from standard input) prints one JSON object and exits with 0
if it has ``"ok": true``, with 1 if it has ``"ok": false``, ``error`` (a code) and ``message`` (one line).
Standard library only, Python 3.9 or newer, run as root. Verbs that change something hold one ``flock``; every
state is replaced by rename, so that a killed call leaves the state before or after a step, never half of one.

Every call has one deadline (``DEADLINES``): whatever an app, a peer, HAProxy or systemd does meanwhile, each
wait takes what is left of it. Of an HTTP answer only the head is read, and none without a bound in bytes.
"""

from __future__ import annotations

import contextlib
import csv
import fcntl
import hashlib
import http.client
import io
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO, Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")

COLORS = ("blue", "green")
NOTHING = "none"
COUNTERS = {
    "requests": "req_tot",
    "responses_5xx": "hrsp_5xx",
    "connection_errors": "econ",
    "retries": "wretr",
    "redispatches": "wredis",
}
# Seconds to wait for: another call of the agent, a reload, health checks, the first answer,
# and, at boot, for a server: the network may need some, and HAProxy waits meanwhile.
LOCK_WAIT, RELOAD_WAIT, HEALTH_WAIT, ANSWER_WAIT = 20.0, 15.0, 5.0, 3.0
BOOT_WAIT = 10.0
# Seconds for one answer: of HAProxy's sockets, of an app, and of one of many that are asked in turn.
SOCKET_WAIT, APP_WAIT, SHORT_APP_WAIT = 5.0, 2.0, 1.0
# Seconds for the request to arrive.
REQUEST_WAIT = 15.0
# Seconds: a reader waits for a call that is at work; who was killed lets go; a run may take its switch back.
READER_WAIT, KILL_WAIT, REVERT_AT_LEAST = 2.0, 2.0, 20.0
# Seconds for one small file, before traffic is moved back without it.
DISK_WAIT = 3.0
# How often a reader looks if something is changed while it does, and bytes of what a holder writes down.
READ_AGAIN, HOLDER_LIMIT = 3, 500
# Seconds after its deadline that a switch which was being confirmed is decided: the other load balancers,
# which may not have got so far, have gone back by then.
PEERS_WAIT = 5.0
# Seconds within which each verb ends, whatever happens. The wait for another call of the agent counts.
DEADLINES = {
    "status": 25.0,
    "probe": 65.0,
    "ledger": 10.0,
    "lock": 60.0,
    "renew": 30.0,
    "unlock": 60.0,
    "sync": 180.0,
    "switch": 60.0,
    "confirm": 45.0,
    "align": 60.0,
    "revert": 45.0,
    "boot": 40.0,
    "record": 30.0,
}
# Of these, the seconds that are kept for putting back what took too long.
PUT_BACK, GO_BACK_TO_OLD_CONFIGURATION = 10.0, 75.0
# Seconds after its deadline that the kernel ends a call that has not noticed it.
ALARM_AFTER = 5.0
# Bytes: an HTTP answer's head, an answer of HAProxy's sockets, a request, and the end of a program's output.
HEAD_LIMIT, SOCKET_LIMIT, REQUEST_LIMIT, OUTPUT_LIMIT = 1 << 16, 1 << 23, 1 << 23, 1 << 16
# Characters that are kept of what an app says about itself.
HEADER_LIMIT = 100
# Bytes at the end of the ledger that are looked at: hundreds of runs, and so any that is reported twice.
LEDGER_TAIL = 1 << 20
# Bytes of the ledger until a new file is begun, and files that a hand had edited: so many are kept.
LEDGER_LIMIT, EDITED_KEPT = 1 << 24, 10
# The first version that can replace all keys of a map in one step.
OLDEST_HAPROXY = (2, 4)
# Seconds that a lock lasts after its holder's last sign of life, unless the holder wants another time.
LEASE = 120.0
COMMAND_TIMEOUT = 30.0


class AgentError(Exception):
    """A refusal: nothing was changed, or what was changed has been put back, unless the message says more."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Paths:
    """Where things are; ``BLUEGREEN_ROOT`` and ``BLUEGREEN_HTTP_PORT`` move them for tests."""

    def __init__(self) -> None:
        root = Path(os.environ.get("BLUEGREEN_ROOT", "/"))
        self.http_port = int(os.environ.get("BLUEGREEN_HTTP_PORT", "80"))
        self.config = root / "etc/haproxy/haproxy.cfg"
        self.map = root / "etc/haproxy/traffic.map"
        self.admin_socket = root / "run/haproxy/admin.sock"
        self.master_socket = root / "run/haproxy-master.sock"
        self.flock = root / "run/bluegreen.lock"
        self.agent = root / "usr/local/lib/bluegreen/lb_agent.py"
        state = root / "var/lib/bluegreen"
        self.lock, self.traffic = state / "lock.json", state / "traffic.json"
        self.loaded, self.installed = state / "loaded.json", state / "installed.json"
        self.ledger = state / "ledger.jsonl"


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file so that a reader, or a power cut, finds the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for all: the flock keeps writers apart, and what a killed one left is overwritten.
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_json(path: Path) -> Json:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise AgentError("bad_state", f"{path} is not JSON; look at it, then remove it") from None
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Json) -> None:
    write_atomically(path, json.dumps(value, indent=1).encode())


def since_boot() -> float:
    """Seconds since this machine was started: a clock that nobody sets, and that no two boots share."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def since_start() -> float:
    """Seconds since the first process began. A container has its host's clock, but a start of its own."""
    return since_boot() - int(started_at(1) or 0) / os.sysconf("SC_CLK_TCK")


class CallDeadline:
    """The moment at which a call has to be over; every wait in it takes what is left."""

    def __init__(self, verb: str, seconds: float) -> None:
        self.verb, self.end = verb, since_boot() + seconds
        self.why = f"it may take {seconds:g} s"
        self._latest, self._kept = self.end, 0.0

    def left(self, at_most: float = float("inf")) -> float:
        """Seconds that may be waited; always more than none.

        :raises AgentError: with the code ``too_slow`` if no time is left.
        """
        left = self.end - self._kept - since_boot()
        if left <= 0:
            raise AgentError("too_slow", f"{self.verb} ran out of time: {self.why}")
        return min(left, at_most)

    def end_within(self, seconds: float, why: str) -> None:
        """Be over earlier than a call of this verb has to be, if it may not take so long."""
        self.end = min(self._latest, since_boot() + seconds)
        if self.end < self._latest:
            self.why = why

    @contextlib.contextmanager
    def keeping(self, seconds: float) -> Iterator[None]:
        """Keep the last seconds for what has to be done if the rest takes too long."""
        before, self._kept = self._kept, self._kept + min(seconds, self.left() / 2)
        try:
            yield
        finally:
            self._kept = before

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(self.left(seconds))

    def wait_for(self, seconds: float, ask: Callable[[], T | None], pause: float = 0.02) -> T | None:
        """Ask until there is an answer other than None; None if there is none in time."""
        until = since_boot() + self.left(seconds)
        while True:
            answer = ask()
            if answer is not None or since_boot() > until:
                return answer
            time.sleep(pause)

    def run(self, *command: str) -> tuple[int, str]:
        """Run a program; its exit status and the end of its output."""
        seconds = self.left(COMMAND_TIMEOUT)
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            return 127, f"{command[0]} is not installed"
        with process:
            until, output = since_boot() + seconds, b""
            try:
                for part in parts_of(process.stdout, until):
                    output = (output + part)[-OUTPUT_LIMIT:]
                process.wait(max(0.01, until - since_boot()))
            except (TimeoutError, subprocess.TimeoutExpired):
                process.kill()
                return 124, f"{command[0]} did not end within {seconds:.0f} s"
            except BaseException:
                process.kill()
                raise
        return process.returncode, output.decode(errors="replace").strip()


def parts_of(stream: IO[bytes] | None, until: float) -> Iterator[bytes]:
    """What comes out of a pipe until it is closed.

    :raises TimeoutError: if it is not by a moment (seconds since the boot).
    """
    while stream is not None:
        left = until - since_boot()
        if left <= 0 or not select.select([stream], [], [], left)[0]:
            raise TimeoutError
        part = os.read(stream.fileno(), 1 << 16)
        if not part:
            return
        yield part


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def deadline_of(seconds: float) -> Json:
    """A moment so many seconds from now, for :func:`time_left`; the clock may be set meanwhile."""
    return {"within": seconds, "end": since_boot() + seconds, "boot": boot_id()}


def time_left(pending: Json) -> float:
    """Seconds until a switch is to be taken back; less than none if they are over.

    Since a boot only the clock knows; if it was set meanwhile, there is no more left than there ever was.
    """
    if pending.get("boot") == boot_id():
        return float(pending["end"] - since_boot())
    return float(min(pending["deadline"] - time.time(), pending.get("within", 0)))


def utc(seconds: float, pattern: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    return time.strftime(pattern, time.gmtime(seconds))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def alert(output: str) -> str:
    """The line of HAProxy's or systemd's output that says what is wrong."""
    found = re.search(r"\[ALERT\][^:]*:\s*(.+)", output)
    return found[1] if found else (output.splitlines() or ["no reason given"])[-1]


@dataclass(frozen=True)
class Question:
    """How an app is asked: for which path, by which host and scheme. It answers as it does to its clients.

    :param host: of the ``Host`` header; the address that is asked if there is none.
    :param https: whether the app is told that its client came by https.
    :param statuses: those of a good answer; 200 to 299 if there are none.
    """

    path: str
    host: str | None = None
    https: bool = False
    statuses: tuple[int, ...] = ()

    @classmethod
    def of(cls, request: Json, path_key: str = "path") -> Question:
        host, https, statuses = (request.get(key) for key in ("host", "https", "statuses"))
        if https not in (None, True, False):
            raise AgentError("bad_request", f"https: {https!r:.60} is not true or false")
        if statuses is not None and not (
            isinstance(statuses, list)
            and all(type(status) is int and 100 <= status <= 599 for status in statuses)
        ):
            raise AgentError("bad_request", f"statuses: {statuses!r:.60} is no list of HTTP statuses")
        named = None if host is None else text(request, "host", HOST)
        return cls(text(request, path_key, PATH), named, bool(https), tuple(statuses or ()))

    @property
    def good(self) -> str:
        """The statuses of a good answer, for people."""
        first, last = (self.statuses[0], self.statuses[-1]) if self.statuses else (200, 299)
        is_range = not self.statuses or self.statuses == tuple(range(first, last + 1))
        return f"{first} to {last}" if is_range and first < last else " or ".join(map(str, self.statuses))

    def told(self) -> Json:
        """What :meth:`of` makes the same question of."""
        return {"path": self.path, "host": self.host, "https": self.https, "statuses": list(self.statuses)}

    def is_good(self, answer: Json) -> bool:
        status = answer["status"]
        if status is None:
            return False
        return status in self.statuses if self.statuses else 200 <= status < 300

    def lines_for(self, address: str) -> bytes:
        """The request, for a connection of its own."""
        lines = (
            f"GET {self.path} HTTP/1.1",
            f"Host: {self.host or address}",
            f"X-Forwarded-Proto: {'https' if self.https else 'http'}",
            "User-Agent: bluegreen-lb-agent",
            "Connection: close",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


def http_get(address: str, port: int, question: Question, seconds: float) -> Json:
    """One GET on a connection of its own, until the answer's head has come. No answer is a result, too.

    :param seconds: for all of it, from the connection to the end of the head.
    """
    answer: Json = {"status": None, "revision": None, "color": None, "error": None}
    began = since_boot()
    try:
        with socket.create_connection((address, port), seconds) as connection:
            connection.sendall(question.lines_for(address))
            answer["status"], headers = read_head(connection, began + seconds)
        for key in ("revision", "color"):
            value = headers.get(f"X-{key.capitalize()}")
            answer[key] = value if value is None else value[:HEADER_LIMIT]
    except TimeoutError:
        answer["error"] = f"TimeoutError: the answer's head did not end within {seconds:.1f} s"
    except (OSError, ValueError, http.client.HTTPException) as error:
        answer["error"] = f"{type(error).__name__}: {error}"[:HEADER_LIMIT]
    answer["milliseconds"] = round((since_boot() - began) * 1000, 1)
    return answer


def read_head(connection: socket.socket, until: float) -> tuple[int, Any]:
    """Status and headers of an answer; interim ones (1xx) are passed over, and its body is left alone.

    :raises TimeoutError: if the head has not ended at a moment (seconds since the boot).
    :raises ValueError: if it is longer than ``HEAD_LIMIT``, ends too early, or is not HTTP's.
    """
    received = begin = 0
    data = b""
    while True:
        end = re.compile(rb"\r?\n\r?\n").search(data, max(begin, received - 4))
        if end:
            found = re.match(rb"HTTP/1\.[01] ([1-5][0-9]{2})\b[^\n]*\n", data[begin : end.end()])
            if not found:
                raise ValueError("what came is not HTTP/1.1")
            if found[1][:1] != b"1":
                lines = data[begin + found.end() : end.end()]
                return int(found[1]), http.client.parse_headers(io.BytesIO(lines))
            begin = received = end.end()
            continue
        received = len(data)
        if received >= HEAD_LIMIT:
            raise ValueError(f"the answer's head is longer than {HEAD_LIMIT} bytes")
        left = until - since_boot()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(HEAD_LIMIT - received)
        if not part:
            raise ValueError("the connection was closed before the answer's head had ended")
        data += part


def knows_ipv6() -> bool:
    """Whether HAProxy can listen on IPv6: the kernel may have been started without it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def answered(answer: Json) -> bool:
    """Whether an app has answered, if only that it does not know the path."""
    return answer["status"] is not None and answer["status"] < 500


@dataclass(frozen=True)
class TrafficMap:
    """Who is live: the content of traffic.map, and of HAProxy's copy of it."""

    live: str
    idle: str
    idle_share: int = 0

    @classmethod
    def parse(cls, text: str) -> TrafficMap | None:
        """None unless the text says exactly one sensible thing."""
        rows = [line.split() for line in text.splitlines() if line.strip()]
        found = {row[0]: row[1] for row in rows if len(row) == 2}
        live, idle, share = (found.get(key, "") for key in ("live", "idle", "idle_share"))
        if len(rows) != 3 or not re.fullmatch("[0-9]{1,2}|100", share):
            return None
        sensible = live in (*COLORS, NOTHING) and idle in COLORS and live != idle
        return cls(live, idle, int(share)) if sensible else None

    @classmethod
    def to(cls, color: str) -> TrafficMap:
        return cls(color, COLORS[1 - COLORS.index(color)])

    @classmethod
    def back(cls, color: str, origin: str | None) -> TrafficMap:
        """As it was before a switch to a color; before the first one nothing was live."""
        return cls.to(origin) if origin else cls(NOTHING, color)

    @property
    def live_color(self) -> str | None:
        return self.live if self.live in COLORS else None

    def __str__(self) -> str:
        return f"live {self.live}\nidle {self.idle}\nidle_share {self.idle_share}\n"


@dataclass(frozen=True)
class Processes:
    """HAProxy's processes as its master lists them; ``old`` are workers that a reload has replaced."""

    master: int
    reloads: int
    failed: int
    workers: tuple[int, ...]
    old: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Processes | None:
        """What ``show proc`` says, by the names of its columns: 2.4 has one more than later versions.

        A reload that fails counts too, but replaces nobody; from 2.6 on ``[failed: N]`` says how many failed.
        """
        names: list[str] = []
        failed, masters, workers = 0, [], []
        for line in text.splitlines():
            if line.startswith("#<"):
                names = re.findall(r"<([^>]+)>", line)
                continue
            failures = re.search(r"\[failed: (\d+)\]", line)
            values = re.findall(r"\[[^\]]*\]|\S+", line.replace(failures[0], "") if failures else line)
            row = dict(zip(names, values))  # noqa: B905  (Python 3.9 has no `strict`)
            if not row.get("PID", "").isdigit() or not row.get("reloads", "").isdigit():
                continue
            process = int(row["PID"]), int(row["reloads"])
            if row.get("type") == "master":
                masters.append(process)
                failed = int(failures[1]) if failures else 0
            elif row.get("type") == "worker":
                workers.append(process)
        if len(masters) != 1:
            return None
        newest = failed if "[failed: " in text else min((reloads for _, reloads in workers), default=0)
        current = tuple(pid for pid, reloads in workers if reloads == newest)
        old = tuple(pid for pid, reloads in workers if reloads != newest)
        return cls(*masters[0], failed, current, old)


def started_at(pid: int) -> str | None:
    """When a process started, in the kernel's ticks: tells it from a later one with the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[19]


class Haproxy:
    """The running HAProxy, through its admin socket and its master's socket."""

    def __init__(self, paths: Paths, deadline: CallDeadline) -> None:
        self.paths, self.deadline = paths, deadline
        # Of a reader: sockets that have not answered in time. Others ask again.
        self._silent: set[Path] | None = None

    def ask_until_silent(self) -> None:
        """From now on, ask nobody again who does not answer in time: a reader has more to say than that."""
        self._silent = set()

    def ask(self, command: str) -> str:
        """A command on the admin socket; an empty string if HAProxy does not answer."""
        return self._talk(self.paths.admin_socket, command)

    def processes(self) -> Processes | None:
        return Processes.parse(self._talk(self.paths.master_socket, "show proc"))

    def _processes_after_a_reload(self) -> Processes | None:
        """Wait for the master, which is silent in a reload; a reader that has waited already waits less."""
        silent, self._silent = self._silent, None
        waited = SOCKET_WAIT if silent and self.paths.master_socket in silent else 0.0
        found = self.deadline.wait_for(RELOAD_WAIT - waited, self.processes)
        self._silent = silent
        return found

    def is_down(self) -> bool:
        """Whether it does not run; during a reload it only does not answer."""
        return self.processes() is None and self.deadline.run("systemctl", "is-active", "haproxy")[0] != 0

    def running_map(self) -> TrafficMap | None:
        return self._map_of(self.ask(self._show_map))

    @property
    def _show_map(self) -> str:
        return f"show map {self.paths.map}"

    @staticmethod
    def _map_of(answer: str) -> TrafficMap | None:
        return TrafficMap.parse("\n".join(row.partition(" ")[2] for row in answer.splitlines()))

    @staticmethod
    def _version_of(answer: str) -> str | None:
        found = re.search(r"version created: (\d+)", answer)
        return found[1] if found else None

    def set_map(self, wanted: TrafficMap) -> None:
        """Replace all keys in one step, also those that a hand has removed."""
        version = self._version_of(self.ask(f"prepare map {self.paths.map}"))
        if version is None:
            raise AgentError(
                "not_moved", "HAProxy knows no traffic map, nothing has changed; deploy again to repair it"
            )
        self._demand_silence(f"add map @{version} {self.paths.map} <<\n{wanted}")
        self._demand_silence(f"commit map @{version} {self.paths.map}")
        self._lead_old_workers(wanted)

    def version(self) -> str:
        text = self.ask("show info") or self.deadline.run("haproxy", "-v")[1]
        found = re.search(r"[Vv]ersion:? (\d+\.\d+(?:\.\d+)?)", text)
        return found[1] if found else "0.0"

    def demand_support(self) -> None:
        """Refuse a version that cannot do what is asked of it; one that is not known is refused elsewhere."""
        version = self.version()
        if (0, 0) < tuple(int(number) for number in version.split(".")[:2]) < OLDEST_HAPROXY:
            needed = ".".join(map(str, OLDEST_HAPROXY))
            message = f"HAProxy {version} is too old, {needed} or later is needed; nothing was changed"
            raise AgentError("unsupported", message)

    def worker(self) -> int | None:
        """Process id of the worker that answers on the admin socket."""
        found = re.search(r"^Pid: (\d+)", self.ask("show info"), re.MULTILINE)
        return int(found[1]) if found else None

    def sessions(self) -> dict[str, int]:
        """Requests and upgraded connections in progress, by color; old workers finish those they have."""
        table = self.ask("show stat")
        found = {color: self._in_progress(table, f"{color}_backend") for color in COLORS}
        # During a reload nobody tells of the worker that is being replaced, and of what it is busy with.
        processes = self._processes_after_a_reload() if table else None
        for pid in processes.old if processes else ():
            table, led_to = self._ask_old(pid, "show stat"), self._map_of(self._ask_old(pid, self._show_map))
            if not self._rows("http_frontend", table):
                # 2.4 has no statistics of a worker that was replaced, so their color is not known.
                connections = re.search(r"^CurrConns: (\d+)", self._ask_old(pid, "show info"), re.MULTILINE)
                for color in COLORS:
                    found[color] += int(connections[1]) if connections else 0
                continue
            for color in COLORS:
                # A kept-alive client of an old worker may send it another request.
                clients = led_to is not None and led_to.live == color
                name = "http_frontend" if clients else f"{color}_backend"
                found[color] += self._in_progress(table, name)
        return found

    def _in_progress(self, table: str, proxy: str) -> int:
        totals = ("FRONTEND", "BACKEND")
        return sum(int(row["scur"] or 0) for row in self._rows(proxy, table) if row["svname"] in totals)

    def _lead_old_workers(self, wanted: TrafficMap) -> None:
        """Let kept-alive clients of workers that a reload has replaced follow too.

        Such a worker checks no server any more: if none was up when it was replaced, it keeps its map.
        """
        processes = self.processes()
        if processes is None or not processes.old or not wanted.live_color:
            return
        up = {server["address"] for server in self.servers(wanted.live) if server["up"]}
        for pid in processes.old:
            rows = self._rows(f"{wanted.live}_backend", self._ask_old(pid, "show stat"))
            usable = [row for row in rows if row["status"].startswith("UP") and row["svname"] != "BACKEND"]
            if usable and all(row["addr"].rpartition(":")[0] in up for row in usable):
                version = self._version_of(self._ask_old(pid, f"prepare map {self.paths.map}"))
                self._ask_old(pid, f"add map @{version} {self.paths.map} <<\n{wanted}")
                self._ask_old(pid, f"commit map @{version} {self.paths.map}")

    def _ask_old(self, pid: int, command: str) -> str:
        return self._talk(self.paths.master_socket, f"@!{pid} {command}")

    def servers(self, color: str) -> list[Json]:
        """What HAProxy's health checks say; a server counts as up after its first check, not before."""
        found = []
        for row in self._rows(f"{color}_backend"):
            if row["svname"] != "BACKEND":
                (address, _, port), check = row["addr"].rpartition(":"), row["check_status"].lstrip("* ")
                up = row["status"].startswith("UP") and check.startswith("L7OK")
                at = {"name": row["svname"], "address": address, "port": int(port)}
                found.append({**at, "maxconn": int(row["slim"] or 0) or None, "up": up, "check": check})
        return found

    def counters(self, color: str) -> Json:
        backend = self._backend(color)
        return {name: int(backend.get(field) or 0) for name, field in COUNTERS.items()}

    def answer_time(self, color: str) -> int:
        """Milliseconds in the queue and until the answer's head, on average of the last 1024 requests."""
        backend = self._backend(color)
        return sum(int(backend.get(field) or 0) for field in ("qtime", "ctime", "rtime"))

    def _backend(self, color: str) -> dict[str, str]:
        return next((row for row in self._rows(f"{color}_backend") if row["svname"] == "BACKEND"), {})

    def _rows(self, proxy: str, table: str | None = None) -> list[dict[str, str]]:
        lines = (self.ask("show stat") if table is None else table).lstrip("# ").splitlines()
        return [dict(row) for row in csv.DictReader(lines) if row["pxname"] == proxy]

    def _demand_silence(self, command: str) -> None:
        # HAProxy reports a failed command in its answer only; success is an empty line.
        answer = self.ask(command).strip()
        if answer:
            raise AgentError("not_moved", f"HAProxy refused {command.split(' ')[0]} map: {answer}")

    def _talk(self, path: Path, command: str) -> str:
        """The whole answer to a command; an empty string if it does not come, in time and within bounds."""
        until = since_boot() + self.deadline.left(SOCKET_WAIT)
        answer = b""
        if self._silent and path in self._silent:
            return ""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(SOCKET_WAIT)
                connection.connect(str(path))
                connection.sendall(command.encode() + b"\n")
                # The master goes on waiting for commands otherwise.
                connection.shutdown(socket.SHUT_WR)
                while len(answer) <= SOCKET_LIMIT:
                    connection.settimeout(max(0.001, until - since_boot()))
                    part = connection.recv(65536)
                    if not part:
                        return answer.decode(errors="replace")
                    answer += part
        except TimeoutError:
            if self._silent is not None:
                self._silent.add(path)
        except OSError:
            pass
        return ""


LINE, PATH, COLOR, REVISION = r"[^\x00-\x1f]{0,500}", r"/[!-~]{0,199}", "|".join(COLORS), r"[0-9a-f]{40}"
HOST = r"[A-Za-z0-9.:\[\]-]{1,260}"


def text(request: Json, key: str, pattern: str) -> str:
    value = request.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise AgentError("bad_request", f"{key}: {value!r:.60} is not usable")
    return value


def number(request: Json, key: str, low: float, high: float) -> float:
    value = request.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AgentError("bad_request", f"{key}: {value!r:.60} is not a number from {low} to {high}")
    return value


class LockStore:
    """Which run may change this load balancer. Tokens only ever grow, so that an old one never fits again.

    They are counted, and no clock has a part in that: one that was wrong once would be wrong for good. Each
    run is given the same token on all load balancers of its app, greater than the last of any of them
    (``at_least``), so that each alone knows what all have given. One that was added, or has lost its file,
    learns it from the others; where none is left that knows, from the droplets, which keep the token of the
    run that changed them last. A droplet that was not asked then, and knows a greater one, refuses the run;
    that is written down here (``know``), and the next run's token is greater.

    A lease is counted by the clock that nobody sets (``since_boot``); what people are shown is by the other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def holder(self) -> Json | None:
        return read_json(self.path).get("holder")

    def last_token(self) -> int | None:
        """The greatest token that is known here; None if nothing is."""
        last = read_json(self.path).get("last_token")
        return None if last is None else int(last)

    def take(self, who: Json, lease: float, over: float = 0, at_least: int = 0) -> Json:
        """``over`` is the token of a holder whose run has ended without giving the lock back.

        ``at_least`` is the smallest token that is greater than all that are known elsewhere.
        """
        state = read_json(self.path)
        holder = state.get("holder")
        if holder and self.is_over(holder, over):
            holder = None
        if holder and holder["run_id"] != who["run_id"]:
            raise AgentError("locked", f"locked by {self.describe(holder)}; wait for that run, or end it")
        if holder and self._attempt_of(holder) != self._attempt_of(who):
            # It was cleared: what its tasks from before may still do, and have done, is not this one's.
            holder = None
        if not holder:
            token = max((self.last_token() or 0) + 1, at_least)
            holder = {**who, "since": time.time(), "token": token}
        elif holder["token"] < at_least:
            # Another load balancer of the same run knows a later one; this one was not used yet.
            holder = {**holder, "token": at_least}
        old = state.get("holder") or {}
        if old.get("begun") not in (None, who.get("begun")):
            # Not forgotten before its record is complete, even if this call is killed.
            holder["left"] = [*old.get("left", []), old["begun"]]
        return self._extend({**holder, **who, "lease": lease})

    @staticmethod
    def _attempt_of(who: Json) -> int | None:
        begun: Json = who.get("begun") or {}
        return begun.get("attempt")

    def all_recorded(self) -> None:
        state = read_json(self.path)
        state["holder"].pop("left", None)
        write_json(self.path, state)

    @staticmethod
    def is_over(holder: Json, over: float = 0) -> bool:
        return bool(holder["token"] == over or LockStore.lease_left(holder) < 0)

    @staticmethod
    def lease_left(holder: Json) -> float:
        """Seconds; a lease that began before the machine was restarted lasts its whole length since then."""
        if holder.get("boot") == boot_id():
            return float(holder["end"] - since_boot())
        return float(holder.get("lease", LEASE) - since_start())

    def _extend(self, holder: Json) -> Json:
        lease = holder.get("lease", LEASE)
        holder = {**holder, **deadline_of(lease), "until": time.time() + lease}
        self._write(holder["token"], holder)
        return holder

    @staticmethod
    def until(holder: Json) -> float:
        """When the lease ends by the clock that people read, which may have been set since it began."""
        until = time.time() + LockStore.lease_left(holder)
        said: float = holder.get("until", until)
        return said if abs(said - until) < 1 else until

    def _write(self, token: int, holder: Json | None) -> None:
        write_json(self.path, {"last_token": max(self.last_token() or 0, token), "holder": holder})

    def release(self, token: int) -> None:
        holder = self.holder()
        if holder and holder["token"] == token:
            self._write(token, None)

    def know(self, token: int) -> None:
        """Give tokens from now on that are greater than one which was found elsewhere."""
        self._write(token, self.holder())

    def require(self, request: Json, lease: float | None = None) -> Json:
        """The holder, if the request's token is its token; that renews the lease.

        One that has run out is good as long as nobody else has taken the lock. ``lease`` is the new length.
        """
        holder = self.holder()
        if holder is None or holder["token"] != number(request, "token", 0, 1e15):
            now = f"held by {self.describe(holder)}" if holder else "free"
            lost = f"this run no longer holds the lock (it is {now}); nothing was changed"
            raise AgentError("lock_lost", f"{lost}, trigger a new run")
        try:
            return self._extend(holder if lease is None else {**holder, "lease": lease})
        except OSError:
            # On a full disk its holder must still be able to take traffic back.
            return holder

    @staticmethod
    def describe(holder: Json) -> str:
        until = f" until {utc(LockStore.until(holder))}"
        return f"{holder['owner']}, run {holder['run_id']}, since {utc(holder['since'])}{until}"


class Ledger:
    """How every run has ended, a line each.

    A file that has become large is kept beside it as ``.1``, in place of an older one, and the new one begins
    with its last lines: tens of thousands of runs are kept, and who reads the last hundreds notices nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[Json]:
        """The last hundreds, oldest first."""
        found = []
        for line in self._tail().split(b"\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]

    def append(self, record: Json) -> bool:
        """False if that run has its line already; a run that was cleared and ran again is another."""
        line = json.dumps(record).encode() + b"\n"
        if len(line) > LEDGER_TAIL // 16:
            raise AgentError("bad_request", f"a record of {len(line)} bytes is too long; it was not written")
        if any(self._key(record) == self._key(known) for known in self.records()):
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and self.path.stat().st_size > LEDGER_LIMIT:
            self._begin_anew()
        with os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            # What a killed call has left of a line goes.
            file.truncate(file.seek(0, os.SEEK_END) - len(self._tail().rpartition(b"\n")[2]))
            file.seek(0, os.SEEK_END)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        return True

    def _begin_anew(self) -> None:
        """Killed anywhere, it leaves the large file or the new one in place; both have the last lines."""
        before, name = self.path.with_name(f"{self.path.name}.1"), self.path.with_name(f".{self.path.name}.1")
        name.unlink(missing_ok=True)
        os.link(self.path, name)
        name.replace(before)
        # The first line of the tail may be the end of a longer one.
        write_atomically(self.path, self._tail().partition(b"\n")[2])

    @staticmethod
    def _key(record: Json) -> tuple[Any, ...]:
        return tuple(record.get(key) for key in ("dag_id", "run_id", "attempt"))

    def _tail(self) -> bytes:
        if not self.path.exists():
            return b""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LEDGER_TAIL))
            return file.read()


class RevertTimer:
    """A timer of systemd's that runs ``revert`` unless it is disarmed; it needs nobody to stay alive."""

    UNIT = "bluegreen-revert"

    def __init__(self, agent: Path, deadline: CallDeadline) -> None:
        self.agent, self.deadline = agent, deadline

    def arm(self, seconds: float, deadline: float) -> None:
        """An earlier timer may still be armed: only the one whose deadline is pending acts."""
        if not self.agent.is_file():
            raise AgentError("cannot_arm", f"{self.agent} is missing, no revert could run; nothing moved")
        status, output = self.deadline.run(
            "systemd-run",
            f"--unit={self.UNIT}-{deadline * 1000:.0f}",
            f"--on-active={seconds}s",
            "--timer-property=AccuracySec=100ms",
            "--collect",
            "--property=Restart=on-failure",
            "--property=RestartSec=5",
            # One that hangs is ended, and so tries again.
            f"--property=RuntimeMaxSec={DEADLINES['revert'] + 2 * ALARM_AFTER:.0f}",
            "--property=TimeoutStopSec=5",
            sys.executable,
            str(self.agent),
            "revert",
            json.dumps({"deadline": deadline}),
        )
        if status != 0:
            raise AgentError("cannot_arm", f"no revert timer, so nothing moved: {output[-200:]}")

    def disarm(self) -> None:
        """One that is left, because this takes too long, would find nothing pending."""
        with contextlib.suppress(AgentError):
            self.deadline.run("systemctl", "stop", f"{self.UNIT}-*.timer", f"{self.UNIT}-*.service")


class Configuration:
    """Who exists: the file, and whether HAProxy runs it."""

    def __init__(self, paths: Paths, haproxy: Haproxy) -> None:
        self.paths, self.haproxy, self.deadline = paths, haproxy, haproxy.deadline

    def running_digest(self) -> str | None:
        """Digest of what runs; None if anything but :meth:`load` has started the present worker."""
        loaded, processes = read_json(self.paths.loaded), self.haproxy.processes()
        if processes is None or len(processes.workers) != 1:
            return None
        worker = processes.workers[0]
        return loaded.get("sha256") if loaded.get("worker") == [worker, started_at(worker)] else None

    def validate(self, config: bytes) -> None:
        candidate = self.paths.config.with_name(".haproxy.cfg.candidate")
        write_atomically(candidate, config)
        status, output = self.deadline.run("haproxy", "-c", "-f", str(candidate))
        candidate.unlink()
        if status != 0:
            message = f"HAProxy refuses the configuration, nothing was changed: {alert(output)}"
            raise AgentError("invalid_config", message)

    def install(self, config: bytes) -> bytes | None:
        """Put the file in place and return the one before; one that a hand has edited is kept beside it."""
        old = self.paths.config.read_bytes() if self.paths.config.exists() else None
        if old == config:
            return old
        if old is not None and digest(old) != read_json(self.paths.installed).get("sha256"):
            stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
            write_atomically(self.paths.config.with_name(f"haproxy.cfg.{stamp}.bak"), old)
            for oldest in sorted(self.paths.config.parent.glob("haproxy.cfg.*Z.bak"))[:-EDITED_KEPT]:
                oldest.unlink()
        write_atomically(self.paths.config, config)
        write_json(self.paths.installed, {"sha256": digest(config)})
        return old

    def load(self, config: bytes, expected: TrafficMap | None) -> None:
        """Start or reload HAProxy, and make sure that it happened: Debian's unit does not wait for it."""
        before = None
        if self.deadline.run("systemctl", "is-active", "haproxy")[0] == 0:
            # A reload that is under way, for example a killed call's, keeps the master from answering.
            before = self.deadline.wait_for(RELOAD_WAIT, self.haproxy.processes)
            if before is None:
                raise AgentError("reload_failed", f"nobody answers on {self.paths.master_socket}")
        else:
            self.deadline.run("systemctl", "reset-failed", "haproxy")
        status, output = self.deadline.run("systemctl", "reload" if before else "start", "haproxy")
        if status != 0:
            raise AgentError("reload_failed", alert(output))
        after = self.deadline.wait_for(RELOAD_WAIT, lambda: self._outcome(before, expected))
        if after is None or after.failed:
            died = "its new worker does not start, see journalctl -u haproxy"
            raise AgentError("reload_failed", died if after else "no new worker answers")
        worker = after.workers[0]
        write_json(self.paths.loaded, {"sha256": digest(config), "worker": [worker, started_at(worker)]})

    def load_or_go_back(self, config: bytes, old: bytes | None, wanted: TrafficMap) -> None:
        try:
            with self.deadline.keeping(GO_BACK_TO_OLD_CONFIGURATION):
                self.load(config, wanted)
        except AgentError as error:
            outcome = "there is no old one to go back to"
            if old is not None:
                self.install(old)
                outcome = "the old one is back"
                try:
                    self.load(old, None)
                except AgentError as again:
                    outcome = f"the old file is back, but does not load either ({again})"
            message = f"HAProxy did not load the new configuration: {error}; {outcome}"
            raise AgentError(error.code, message) from None

    def _outcome(self, before: Processes | None, expected: TrafficMap | None) -> Processes | None:
        now = self.haproxy.processes()
        if now is None or (before and (now.master, now.reloads) == (before.master, before.reloads)):
            return None
        if now.failed:
            return now
        known = before.workers + before.old if before else ()
        if len(now.workers) != 1 or now.workers[0] in known or self.haproxy.worker() != now.workers[0]:
            return None
        return now if expected is None or self.haproxy.running_map() == expected else None


class Traffic:
    """Who is live: the map's file, HAProxy's copy of it, and the switch that waits to be confirmed."""

    def __init__(self, paths: Paths, haproxy: Haproxy) -> None:
        self.paths, self.haproxy, self.deadline = paths, haproxy, haproxy.deadline

    def state(self) -> Json:
        empty = dict.fromkeys(("pending", "last_revert", "confirmed", "moved_at", "reached"))
        return {**empty, "good": {}, **read_json(self.paths.traffic)}

    def remember(self, **changes: Any) -> None:
        write_json(self.paths.traffic, {**self.state(), **changes})

    def know_reached(self, addresses: list[str]) -> None:
        """Remember which load balancers deploys have reached: one that is silent may serve clients."""
        known = self.state()["reached"]
        reached = sorted({*(known or []), *(str(IPv4Address(one)) for one in addresses)})
        if addresses and reached != known:
            self.remember(reached=reached)

    def keep(self, pending: Json) -> None:
        confirmed = {"revision": pending["revision"], "color": pending["to"]}
        confirmed |= {"run_id": pending["run_id"], "token": pending.get("token"), "at": time.time()}
        state = self.state()
        before = state["confirmed"]
        # What an agent has confirmed that did not remember this.
        good = {before["color"]: before["revision"]} if before else {}
        good |= {**state["good"], pending["to"]: pending["revision"]}
        self.remember(pending=None, confirmed=confirmed, good=good)

    def colors_of_peers(self, pending: Json) -> set[str]:
        """Where the other load balancers send traffic; those that do not answer are left out."""
        port, question = self.paths.http_port, Question.of(pending)
        colors = set()
        for peer in pending.get("peers", []):
            colors.add(http_get(peer, port, question, self.deadline.left(SHORT_APP_WAIT))["color"])
        return colors - {None, ""}

    def taken_back(self, pending: Json, reason: str) -> None:
        self.remember(pending=None, last_revert=self._revert_of(pending, reason))

    def not_taken_back(self, pending: Json, reason: str) -> None:
        """It stays pending; the next run is told anyway."""
        self.remember(last_revert={**self._revert_of(pending, reason), "refused": True})

    @staticmethod
    def _revert_of(pending: Json, reason: str) -> Json:
        way = {"from": pending["to"], "to": pending["from"]}
        whose = {"run_id": pending["run_id"], "token": pending.get("token")}
        return {**way, **whose, "at": time.time(), "reason": reason}

    def in_file(self) -> TrafficMap | None:
        file = self.paths.map
        return TrafficMap.parse(file.read_text(errors="replace")) if file.exists() else None

    def write_file(self, wanted: TrafficMap) -> None:
        write_atomically(self.paths.map, str(wanted).encode(), 0o644)

    def running(self) -> TrafficMap:
        running = self.haproxy.running_map()
        if running is None:
            what = "has no usable traffic map" if self.haproxy.processes() else "does not run"
            raise AgentError("haproxy_down", f"HAProxy {what}, nothing was moved; deploy again to repair it")
        return running

    def is_at(self, wanted: TrafficMap) -> bool:
        """Whether HAProxy and the file say so."""
        return self.haproxy.running_map() == wanted == self.in_file()

    def wanted(self, initial: Json) -> TrafficMap:
        """What runs, else what the file says, else what the caller starts with."""
        known = self.haproxy.running_map() or self.in_file()
        if known is None and self.paths.map.exists():
            advice = "correct it, or remove it to start with nothing live"
            raise AgentError("bad_map", f"neither {self.paths.map} nor HAProxy says who is live; {advice}")
        start = f"live {initial.get('live') or NOTHING}\nidle {initial.get('idle')}\nidle_share 0"
        wanted = known or TrafficMap.parse(start)
        if wanted is None:
            raise AgentError("bad_request", f"initial: {initial!r:.60} is not usable")
        return wanted

    def demand_health(self, color: str, revision: str, minimum: int, question: Question) -> None:
        """Every server that HAProxy would use has to give a good answer, with the revision."""

        def all_up() -> list[Json] | None:
            servers = self.haproxy.servers(color)
            return servers if len(servers) >= minimum and all(server["up"] for server in servers) else None

        servers = self.deadline.wait_for(HEALTH_WAIT, all_up) or self.haproxy.servers(color)
        up = [server for server in servers if server["up"]]
        if len(up) < minimum:
            sick = [f"{server['name']}: {server['check']}" for server in servers if not server["up"]]
            why = ", ".join(sick) or "no others exist"
            message = f"{color} has {len(up)} healthy servers of {minimum} ({why}); nothing moved"
            raise AgentError("unhealthy", message)
        for server in up:
            seconds = self.deadline.left(APP_WAIT)
            answer = http_get(server["address"], server["port"], question, seconds)
            if not question.is_good(answer) or answer["revision"] != revision:
                said = answer["error"] or f"status {answer['status']}, revision {answer['revision']}"
                asked = f" (Host {question.host})" if question.host else ""
                wrong = f"{server['name']} answers {question.path}{asked} with {said}"
                wanted = f"not with status {question.good} and {revision[:12]}"
                raise AgentError("unhealthy", f"{wrong}, {wanted}; nothing moved")

    def move(self, wanted: TrafficMap, question: Question, revision: str | None = None) -> Json:
        """Move traffic and prove it: the file, the running map, and a real answer."""
        began = time.monotonic()
        self.write_file(wanted)
        self.haproxy.set_map(wanted)
        at = time.time()

        def answers() -> bool | None:
            answer = http_get("127.0.0.1", self.paths.http_port, question, self.deadline.left(APP_WAIT))
            right = answer["color"] == wanted.live_color and answer["status"] is not None
            return (right and revision in (None, answer["revision"])) or None

        answered = self.deadline.wait_for(ANSWER_WAIT, answers, 0.005)
        milliseconds = round((time.monotonic() - began) * 1000, 1)
        if not answered or not self.is_at(wanted):
            raise AgentError("not_moved", f"no answer from {wanted.live} came through HAProxy")
        self.remember(moved_at=at)
        return {"milliseconds": milliseconds, "at": at}

    def move_or_put_back(
        self, wanted: TrafficMap, back: TrafficMap, question: Question, revision: str | None = None
    ) -> Json:
        try:
            with self.deadline.keeping(PUT_BACK):
                return self.move(wanted, question, revision)
        except AgentError as error:
            with contextlib.suppress(AgentError, OSError):
                self.write_file(back)
                self.haproxy.set_map(back)
            became = f"traffic was put back, live is {back.live}"
            if not self.is_at(back):
                became = f"traffic could not be put back to {back.live} either"
            raise AgentError(error.code, f"{error}; {became}") from None

    def _disk_hangs(self, wanted: TrafficMap) -> bool:
        """Write the file, in a process of its own: one that waits for a disk cannot be called back."""
        writer = os.fork()
        if writer == 0:
            with contextlib.suppress(BaseException):
                # The flock among them: what hangs here must not keep it.
                os.closerange(3, 1024)
                self.write_file(wanted)
            os._exit(0)
        if self.deadline.wait_for(DISK_WAIT, lambda: os.waitpid(writer, os.WNOHANG)[0] or None):
            return False
        os.kill(writer, signal.SIGKILL)
        return True

    def move_back(self, wanted: TrafficMap, question: Question) -> Json:
        """Move traffic whatever becomes of the file: clients come first."""
        if self._disk_hangs(wanted):
            self.haproxy.set_map(wanted)
            moved = f"traffic goes to {wanted.live} again, but {self.paths.map} was not written"
            raise AgentError("not_written", f"{moved} within {DISK_WAIT:.0f} s; see what its disk waits for")
        try:
            return self.move(wanted, question)
        except OSError as error:
            self.haproxy.set_map(wanted)
            moved = f"traffic goes to {wanted.live} again, but {self.paths.map} cannot be written"
            raise AgentError("not_written", f"{moved} ({error.strerror}); make room on the disk") from None


class Agent:
    """The verbs; each takes the request and returns the answer."""

    def __init__(self, paths: Paths, deadline: CallDeadline, call_lock: CallLock) -> None:
        self.paths, self.deadline, self.call_lock = paths, deadline, call_lock
        self.haproxy = Haproxy(paths, deadline)
        self.configuration = Configuration(paths, self.haproxy)
        self.traffic = Traffic(paths, self.haproxy)
        self.lock_store = LockStore(paths.lock)
        self.timer = RevertTimer(paths.agent, deadline)
        self.written = Ledger(paths.ledger)

    def leave_time_for_the_way_back(self, verb: str, request: Json) -> None:
        """Be over, with whatever else, when a pending switch is to be taken back."""
        pending = self.traffic.state()["pending"]
        left = time_left(pending) if pending else 0.0
        if not pending or left <= 0 or verb == "boot" or "deadline" in request:
            return
        self._end_within(max(left, REVERT_AT_LEAST) if verb == "revert" else left)

    def _end_within(self, seconds: float) -> None:
        self.deadline.end_within(seconds, "the time to confirm the switch is over, it is taken back")
        self.call_lock.write_down()

    def status(self, _request: Json) -> Json:
        self.haproxy.ask_until_silent()
        processes, running = self.haproxy.processes(), self.haproxy.running_map()
        in_file, state = self.traffic.in_file(), self.traffic.state()
        return {
            "haproxy": {
                "version": self.haproxy.version(),
                "running": processes is not None and bool(processes.workers),
                "config_sha256": self.configuration.running_digest(),
                "workers": len(processes.workers) if processes else 0,
                "old_workers": len(processes.old) if processes else 0,
                "ipv6": knows_ipv6(),
            },
            "live": running.live_color if running else None,
            "idle": running.idle if running else None,
            "map_file": asdict(in_file) if in_file else None,
            "map_running": asdict(running) if running else None,
            "consistent": running is not None and running == in_file,
            "servers": {color: self.haproxy.servers(color) for color in COLORS},
            "counters": self._counters(),
            "answer_times": self._answer_times(),
            "sessions": self.haproxy.sessions(),
            "lock": self._lock_for_people(),
            "last_token": self.lock_store.last_token(),
            **{key: state[key] for key in ("pending", "confirmed", "good", "last_revert", "moved_at")},
            "reached": state["reached"],
            "now": time.time(),
        }

    def _lock_for_people(self) -> Json | None:
        holder = self.lock_store.holder()
        return holder and {**holder, "until": self.lock_store.until(holder)}

    def probe(self, request: Json) -> Json:
        address = str(IPv4Address(text(request, "address", r"[0-9.]+")))
        port, timeout = int(number(request, "port", 1, 65535)), number(request, "timeout", 0.01, 60)
        return http_get(address, port, Question.of(request), timeout)

    def lock(self, request: Json) -> Json:
        who: Json = {key: text(request, key, LINE) for key in ("owner", "run_id", "ref")}
        if request.get("begun"):
            who["begun"] = self._record_in(request, "begun")
        lease = number({"lease": LEASE, **request}, "lease", 1, 86400)
        over = number(request, "over", 0, 1e15) if "over" in request else 0
        holder = self.lock_store.holder()
        at_least = int(number({"at_least": 0, **request}, "at_least", 0, 1e15))
        taken = self.lock_store.take(who, lease, over, at_least)
        answer = {"token": taken["token"], "until": taken["until"], "took_over": None}
        if holder and holder["run_id"] != taken["run_id"]:
            answer["took_over"] = self.lock_store.describe(holder)
        self._settle(keep=bool(request.get("keep")))
        if taken.get("left"):
            for begun in taken["left"]:
                self.written.append(self._without_a_word(begun, who["run_id"]))
            self.lock_store.all_recorded()
        return answer

    def _settle(self, keep: bool) -> None:
        """Keep or take back a switch that nobody is left to confirm, before whoever has the lock goes on.

        Its run has lost the lock, or was cleared and begins anew. One that cannot be taken back stays
        pending: what traffic has to go back to may get well, and its timer tries again. A first release
        stays: nothing else could answer, and its run is not there to say that it is bad.
        """
        pending = self.traffic.state()["pending"]
        if not pending:
            return
        if keep and pending.get("prepared"):
            self.traffic.keep(pending)
        elif pending["from"] is None:
            self.traffic.remember(pending=None)
        else:
            try:
                self._take_back(pending, "its run did not confirm it")
            except AgentError as error:
                self.traffic.not_taken_back(pending, str(error))
                return
        self.timer.disarm()

    def _without_a_word(self, begun: Json, found_by: str) -> Json:
        """The record of a run that has left its lock behind: what it knew at first, and what became of it."""
        run_id, state, running = f"{begun['dag_id']}/{begun['run_id']}", self.traffic.state(), None
        with contextlib.suppress(AgentError):
            running = self.traffic.running().live_color
        kept, taken_back = state["confirmed"] or {}, state["last_revert"] or {}
        fate, way = "its lock was left behind", {}
        if kept.get("run_id") == run_id:
            fate, way = "its switch is kept", {"to": kept["color"]}
        elif taken_back.get("run_id") == run_id:
            fate = (
                "its switch was taken back"
                if not taken_back.get("refused")
                else "its switch could not be taken back"
            )
            way = {"from": taken_back["to"], "to": taken_back["from"]}
        live = {"live": running, "live_known": True}
        live["live_revision"] = kept.get("revision") if running and kept.get("color") == running else None
        outcome = "ended without a word"
        found = f"{fate}, as run {found_by} found; live is {running or 'nothing'}"
        message = f"{begun.get('subject', run_id)}: {outcome}: {found}"
        ended = utc(time.time(), "%Y-%m-%dT%H:%M:%SZ")
        return {
            **begun,
            **way,
            **live,
            "outcome": outcome,
            "message": message,
            "ended": ended,
            "found_by": found_by,
        }

    @staticmethod
    def _record_in(request: Json, key: str) -> Json:
        record = request.get(key)
        if not isinstance(record, dict):
            raise AgentError("bad_request", f"{key}: {record!r:.60} is not a record")
        text(record, "dag_id", LINE)
        text(record, "run_id", LINE)
        number(record, "attempt", 0, 1e6)
        return record

    def record(self, request: Json) -> Json:
        """Write down how a run has ended. It needs no lock: a run that did not get it has ended too."""
        return {"written": self.written.append(self._record_in(request, "record"))}

    def ledger(self, request: Json) -> Json:
        last = int(number({"last": 10, **request}, "last", 1, 10000))
        return {"records": self.written.records()[-last:]}

    def renew(self, request: Json) -> Json:
        """Keep the lock; ``touches`` is the color whose droplets are about to be changed.

        ``known_token`` is what one of them knows, which no load balancer did.
        """
        lease = number(request, "lease", 1, 86400) if "lease" in request else None
        holder = self.lock_store.require(request, lease)
        if "touches" in request:
            self._demand_idle(text(request, "touches", COLOR), holder)
        if "known_token" in request:
            self.lock_store.know(int(number(request, "known_token", 0, 1e15)))
        return {"until": self.lock_store.until(holder)}

    def _demand_idle(self, color: str, holder: Json) -> None:
        """Refuse if a color has the traffic, or this run has moved it away from there and may yet go back.

        Another run's switch that could not be taken back so far never will be: its way back ends here.
        """
        known, pending = self.haproxy.running_map() or self.traffic.in_file(), self.traffic.state()["pending"]
        if known and known.live == color:
            raise AgentError("not_idle", f"{color} has the traffic; nothing was changed, trigger a new run")
        if known and known.idle_share:
            given = f"{color} is given {known.idle_share} % of the requests (idle_share in {self.paths.map})"
            raise AgentError("not_idle", f"{given}; nothing was changed, end that first")
        if pending and pending.get("token") == holder["token"]:
            moved = f"this run has moved traffic to {pending['to']}, and that is not decided"
            raise AgentError("not_idle", f"{moved}; {color} was not changed, trigger a new run")
        if pending:
            self.traffic.remember(pending=None)
            self.timer.disarm()

    def unlock(self, request: Json) -> Json:
        token = int(number(request, "token", 0, 1e15))
        holder, pending = self.lock_store.holder(), self.traffic.state()["pending"]
        if holder and holder["token"] == token and pending and not pending.get("prepared"):
            # A task that was killed late has switched after its run had looked for the last time.
            # If it cannot be taken back, the timer tries again.
            with contextlib.suppress(AgentError, OSError):
                self.revert({"token": token})
        self.lock_store.release(token)
        return {}

    def sync(self, request: Json) -> Json:
        self.lock_store.require(request)
        self.haproxy.demand_support()
        config = text(request, "config", r"[^\x00]+").encode()
        wanted = self.traffic.wanted(request.get("initial") or {})
        # HAProxy checks that the map is there, so it has to be made before the configuration is checked.
        created = not self.paths.map.exists()
        if created:
            self.traffic.write_file(wanted)
        try:
            self.configuration.validate(config)
        except AgentError:
            if created:
                self.paths.map.unlink()
            raise
        # While this is prepared: all know of all before any of them sends traffic anywhere.
        self.traffic.know_reached(request.get("peers") or [])
        if request.get("prepare_only"):
            return {"changed": False, "reloaded": False, "prepared": True}
        repaired = self.traffic.in_file() != wanted
        if repaired:
            # What runs is the truth; a reload would read the file and move traffic otherwise.
            self.traffic.write_file(wanted)
        old = self.configuration.install(config)
        reload = self.configuration.running_digest() != digest(config)
        if reload:
            self.configuration.load_or_go_back(config, old, wanted)
        elif self.haproxy.running_map() != wanted:
            self.haproxy.set_map(wanted)
        changed = created or repaired or reload or old != config
        return {"changed": changed, "reloaded": reload}

    def switch(self, request: Json) -> Json:
        holder = self.lock_store.require(request)
        to, revision = text(request, "to", COLOR), text(request, "revision", REVISION)
        within = number(request, "confirm_within", 1, 86400)
        minimum = int(number(request, "min_servers", 1, 1000))
        question = Question.of(request, "health_path")
        running, pending = self.traffic.running(), self.traffic.state()["pending"]
        unfinished = bool(pending) and pending["to"] == to
        origin = pending["from"] if unfinished else running.live_color
        if origin == to:
            if self.traffic.in_file() != running:
                self.traffic.write_file(running)
            return {"from": to, "to": to, "already": True}
        self.traffic.demand_health(to, revision, minimum, question)
        answer = {"from": origin, "to": to, "already": running.live == to}
        answer |= {"counters": self._counters(), "answer_times": self._answer_times()}
        if request.get("prepare_only"):
            return {**answer, "prepared": True}
        deadline = time.time() + within
        if origin is not None:
            # Before anything moves: whatever happens to this process, traffic goes back by itself.
            self.timer.arm(within, deadline)
            self._end_within(within)
        told = {"revision": revision, "deadline": deadline, **deadline_of(within), **question.told()}
        told |= {key: holder[key] for key in ("run_id", "token")}
        told["peers"] = [str(IPv4Address(peer)) for peer in request.get("peers") or []]
        # Whom to ask at boot, when no HAProxy is there to say it.
        known = self.haproxy.servers(origin) if origin else []
        told["servers"] = [{key: server[key] for key in ("address", "port")} for server in known]
        # After the timer: one that an unfinished switch has armed stays good until this is written.
        self.traffic.remember(pending={"from": origin, "to": to, **told})
        back = TrafficMap.back(to, origin)
        try:
            moved = self.traffic.move_or_put_back(TrafficMap.to(to), back, question, revision)
        except AgentError:
            # If it could not be put back, the timer still can.
            if self.traffic.is_at(back):
                self.traffic.remember(pending=None)
                self.timer.disarm()
            raise
        return {**answer, **moved}

    def confirm(self, request: Json) -> Json:
        """Keep the switch; with ``prepare_only``, agree to do so, and let the other load balancers decide."""
        self.lock_store.require(request)
        revision, state = text(request, "revision", REVISION), self.traffic.state()
        live, pending = self.traffic.running().live, state["pending"]
        confirmed = state["confirmed"] or {}
        if not pending and (confirmed.get("revision"), confirmed.get("color")) == (revision, live):
            return {"live": live}
        if not pending or pending["revision"] != revision or pending["to"] != live:
            last = state["last_revert"]
            why = f"; the last switch was taken back: {last['reason']}" if last else ""
            raise AgentError("reverted", f"no switch to {revision[:12]} waits for this, live is {live}{why}")
        if request.get("prepare_only"):
            self.traffic.remember(pending={**pending, "prepared": True})
            return {"live": live, "prepared": True}
        # One that was edited by hand since the switch would be what the next HAProxy starts with.
        if self.traffic.in_file() != self.traffic.running():
            self.traffic.write_file(self.traffic.running())
        # In this order: a timer without a pending switch is harmless, a switch without a timer is not.
        self.traffic.keep(pending)
        self.timer.disarm()
        return {"live": live}

    def align(self, request: Json) -> Json:
        """Send traffic where the other load balancers, or a person, know that it belongs."""
        self.lock_store.require(request)
        to, question = text(request, "to", COLOR), Question.of(request)
        running, wanted = self.traffic.running(), TrafficMap.to(to)
        if running != wanted or self.traffic.in_file() != wanted:
            self._demand_one_server(to, running.live)
            self.traffic.move_or_put_back(wanted, running, question)
        self.traffic.remember(pending=None)
        self.timer.disarm()
        return {"from": running.live_color, "to": to, "moved": running != wanted}

    def revert(self, request: Json) -> Json:
        """Without ``deadline`` now; with it, as the timer calls it, only if that is the pending switch's.

        A run takes back its own switch only; that of a dead one is its timer's.
        A run that died while it confirmed may have done so on another load balancer: the timer looks there.
        A first release stays if nobody says that it is bad: nothing else could answer. The run that made it
        live may take it away again; then nothing is live, as before.
        """
        holder = self.lock_store.require(request) if "token" in request else None
        asked = f"run {holder['run_id']}" if holder else "hand"
        pending, deadline = self.traffic.state()["pending"], request.get("deadline")
        other = bool(holder and pending) and pending["run_id"] != holder["run_id"]
        if not pending or other or deadline not in (None, pending["deadline"]):
            running = self.haproxy.running_map()
            return self._nothing_moved(running.live_color if running else None)
        if request.get("prepare_only"):
            # Where HAProxy is down, servers are asked when it is committed, as at boot.
            if pending["from"] and not self.haproxy.is_down():
                self._demand_one_server(pending["from"], pending["to"])
            return {**self._nothing_moved(pending["to"]), "prepared": True}
        if deadline is not None and pending.get("prepared") and self._peers_keep(pending):
            self.traffic.keep(pending)
            return self._nothing_moved(pending["to"])
        reason = f"asked for by {asked}" if deadline is None else "it was not confirmed in time"
        try:
            answer = self._take_back(pending, reason)
        except AgentError as error:
            # Whoever comes next is told; the switch stays pending, and the timer tries again.
            with contextlib.suppress(OSError):
                self.traffic.not_taken_back(pending, f"{reason}, but {error}")
            raise
        if deadline is None:
            self.timer.disarm()
        return answer

    @staticmethod
    def _nothing_moved(live: str | None) -> Json:
        return {"from": live, "to": live, "milliseconds": 0.0, "reverted": False}

    def _take_back(self, pending: Json, reason: str) -> Json:
        """Move traffic to where it was before a switch, if it is not there yet."""
        target = TrafficMap.back(pending["to"], pending["from"])
        answer = {**self._nothing_moved(target.live_color), "from": pending["to"]}
        if self.haproxy.is_down():
            self._start_with(target, pending)
        elif not self.traffic.is_at(target):
            if target.live_color:
                self._demand_one_server(target.live, pending["to"])
            moved = self.traffic.move_back(target, Question.of(pending))
            answer = {**answer, "milliseconds": moved["milliseconds"], "reverted": True}
        self.traffic.taken_back(pending, reason)
        return answer

    def _peers_keep(self, pending: Json) -> bool:
        """Whether the other load balancers keep a switch, once all have decided; silence is a yes."""
        self.deadline.sleep(min(PEERS_WAIT, time_left(pending) + PEERS_WAIT))
        return pending["from"] not in self.traffic.colors_of_peers(pending)

    def boot(self, _request: Json) -> Json:
        """Take an unconfirmed switch back before HAProxy starts: its timer did not outlive the restart."""
        pending = self.traffic.state()["pending"]
        if not pending or pending["from"] is None:
            return {"reverted": False}
        # First, in case that this takes too long: a timer tries again, as often as it takes.
        self.timer.arm(max(1, time_left(pending)), pending["deadline"])
        if self._follows_peers(pending):
            return {"reverted": False}
        try:
            self._start_with(TrafficMap.to(pending["from"]), pending)
        except AgentError as error:
            self.traffic.not_taken_back(pending, str(error))
            later = f"live is still {pending['to']}, and is taken back later"
            raise AgentError(error.code, f"{error}; {later}") from None
        self.traffic.taken_back(pending, "the load balancer was restarted before it was confirmed")
        self.timer.disarm()
        return {"reverted": True, "from": pending["to"], "to": pending["from"]}

    def _follows_peers(self, pending: Json) -> bool:
        """At boot: whether the others keep the switch, or may still do so.

        One that had agreed to keep it leaves that to its timer. One that had not was away when the others
        decided: until their time is over they go back, if this one does.
        """
        agreed, left = bool(pending.get("prepared")), time_left(pending) + PEERS_WAIT
        if not pending.get("peers") or (not agreed and left > PEERS_WAIT):
            return False
        if not agreed:
            self.deadline.sleep(left)
        if pending["to"] not in self.traffic.colors_of_peers(pending):
            return False
        if not agreed:
            self.traffic.keep(pending)
            self.timer.disarm()
        return True

    def _start_with(self, target: TrafficMap, pending: Json) -> None:
        """While HAProxy does not run: let it start with what was live before a switch, if that answers."""
        if target.live_color:
            self._demand_an_answer(pending)
        self.traffic.write_file(target)

    def _demand_an_answer(self, pending: Json) -> None:

        def any_answer() -> bool | None:
            for one in pending.get("servers", []):
                seconds = self.deadline.left(SHORT_APP_WAIT)
                if answered(http_get(one["address"], one["port"], Question.of(pending), seconds)):
                    return True
            return None

        if not self.deadline.wait_for(BOOT_WAIT, any_answer, 0.2):
            sick = f"no server of {pending['from']} answered while HAProxy did not run"
            raise AgentError("unhealthy", sick)

    def _demand_one_server(self, color: str, live: str) -> None:
        def any_up() -> bool | None:
            return any(server["up"] for server in self.haproxy.servers(color)) or None

        if not self.deadline.wait_for(HEALTH_WAIT, any_up):
            message = f"{color} has no healthy server to go back to; live is still {live}"
            raise AgentError("unhealthy", message)

    def _counters(self) -> Json:
        return {color: self.haproxy.counters(color) for color in COLORS}

    def _answer_times(self) -> Json:
        return {color: self.haproxy.answer_time(color) for color in COLORS}


@dataclass(frozen=True)
class Holder:
    """A process that has the flock, and until when it may have it, in seconds since the boot."""

    pid: int
    started: str
    end: float

    def kill(self) -> None:
        """End it and the programs that it runs, unless its number is by now of a process that is no agent."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            if started_at(self.pid) == self.started and b"lb_agent.py" in command:
                (os.killpg if os.getpgid(self.pid) == self.pid else os.kill)(self.pid, signal.SIGKILL)


class CallLock:
    """The flock that keeps calls apart, and that nobody has for longer than his call may take.

    Who has it writes himself into the locked file, which is in memory. Whoever waits for one that is overdue,
    because it is stopped or waits for a disk, ends it and goes on: a call that is killed leaves nothing half
    done. If the flock stays locked nevertheless, the file is replaced by a new one: nobody is left who would
    execute another instruction under the old one.
    """

    def __init__(self, path: Path, deadline: CallDeadline) -> None:
        self.path, self.deadline = path, deadline
        self._descriptor: int | None = None
        self._overdue_since: float | None = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Have it.

        :raises AgentError: with the code ``busy`` if another call has it, and may have it, for too long.
        """
        # So that whoever ends this call ends the programs that it runs, too. A session's leader is its own.
        with contextlib.suppress(PermissionError):
            os.setpgid(0, 0)
        try:
            if self.deadline.wait_for(LOCK_WAIT, self._attempt) is None:
                raise AgentError(
                    "busy", "another call of the agent is at work on this load balancer; try again"
                )
            yield
        finally:
            self._close()

    def write_down(self) -> None:
        """Let others know until when this call has it."""
        if self._descriptor is None:
            return
        own = asdict(Holder(os.getpid(), started_at(os.getpid()) or "", self.deadline.end))
        line = json.dumps(own).encode()
        # On a full file system others take it from the kernel who has it.
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))

    def wait_until_free(self) -> bytes | None:
        """Wait a moment for a call that is at work; what the file says, or None if it still is."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return b""

        def attempt() -> bytes | None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            return os.pread(descriptor, HOLDER_LIMIT, 0)

        try:
            return self.deadline.wait_for(READER_WAIT, attempt)
        finally:
            os.close(descriptor)

    def _attempt(self) -> bool | None:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if self._is_current():
                self._end_overdue()
            else:
                self._close()
            return None
        self.write_down()
        if self._is_current():
            return True
        self._close()
        return None

    def _is_current(self) -> bool:
        """Whether the open file still is the one that all others open."""
        try:
            there = self.path.stat()
            return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), there)
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _end_overdue(self) -> None:
        holder, now = self._holder(), since_boot()
        if holder and now <= holder.end:
            self._overdue_since = None
            return
        if holder:
            holder.kill()
        if self._overdue_since is None:
            self._overdue_since = now
        elif now - self._overdue_since > KILL_WAIT:
            self._replace()

    def _holder(self) -> Holder | None:
        """Who has it, as it has written down, else as the kernel knows; None if that process has ended."""
        descriptor = self._descriptor
        if descriptor is None:
            return None
        with contextlib.suppress(ValueError, TypeError):
            known = Holder(**json.loads(os.pread(descriptor, HOLDER_LIMIT, 0)))
            if started_at(known.pid) == known.started:
                return known
        inode = os.fstat(descriptor).st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            found = re.search(rf" FLOCK +ADVISORY +\w+ +(\d+) \S+:{inode} ", line)
            started = started_at(int(found[1])) if found else None
            if found and started:
                seconds = int(started) / os.sysconf("SC_CLK_TCK")
                return Holder(int(found[1]), started, seconds + max(DEADLINES.values()))
        return None

    def _replace(self) -> None:
        """Let all go on with a new file, whoever has the flock of the old one."""
        guard = os.open(self.path.with_name(f"{self.path.name}.replace"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Nobody waits for anything while he has this one.
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current():
                self.path.unlink()
        except BlockingIOError:
            pass
        finally:
            os.close(guard)
        self._overdue_since = None
        self._close()


VERBS: dict[str, Callable[[Agent, Json], Json]] = {
    "status": Agent.status,
    "probe": Agent.probe,
    "lock": Agent.lock,
    "renew": Agent.renew,
    "unlock": Agent.unlock,
    "sync": Agent.sync,
    "switch": Agent.switch,
    "confirm": Agent.confirm,
    "align": Agent.align,
    "revert": Agent.revert,
    "boot": Agent.boot,
    "record": Agent.record,
    "ledger": Agent.ledger,
}
# They change nothing, and wait for nobody.
READERS = ("status", "probe", "ledger")


def answer_to(arguments: list[str]) -> Json:
    if not arguments or arguments[0] not in VERBS:
        raise AgentError("bad_request", f"usage: lb_agent.py {'|'.join(VERBS)} [JSON]")
    deadline = CallDeadline(arguments[0], DEADLINES[arguments[0]])
    # The kernel's, for what no line here has thought of; a call that is killed leaves nothing half done.
    signal.setitimer(signal.ITIMER_REAL, DEADLINES[arguments[0]] + ALARM_AFTER)
    source = arguments[1] if len(arguments) > 1 else "{}"
    try:
        request = json.loads(from_stdin(deadline) if source == "-" else source)
    except ValueError as error:
        raise AgentError("bad_request", f"the request is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise AgentError("bad_request", "the request is not a JSON object")
    paths = Paths()
    lock = CallLock(paths.flock, deadline)
    agent, verb = Agent(paths, deadline, lock), VERBS[arguments[0]]
    if arguments[0] == "status":
        return {"ok": True, **in_peace(lock, lambda: agent.status(request))}
    if arguments[0] in READERS:
        return {"ok": True, **verb(agent, request)}
    with lock.held():
        agent.leave_time_for_the_way_back(arguments[0], request)
        return {"ok": True, **verb(agent, request)}


def in_peace(lock: CallLock, read: Callable[[], Json]) -> Json:
    """Read while no call changes anything, if there is such a moment; a call that hangs is looked at, too.

    A reader holds nothing while it reads, so that it keeps nobody waiting whatever becomes of it.
    """
    answer: Json | None = None
    for _ in range(READ_AGAIN):
        try:
            before = lock.wait_until_free()
            answer = read()
            if before is None or lock.wait_until_free() == before:
                break
        except AgentError as error:
            # Better one that may be of two moments than none.
            if answer is None or error.code != "too_slow":
                raise
            break
    return answer or {}


def from_stdin(deadline: CallDeadline) -> bytes:
    """The request.

    :raises AgentError: if it does not end in time, or is too long.
    """
    request = bytearray()
    try:
        for part in parts_of(sys.stdin.buffer, since_boot() + deadline.left(REQUEST_WAIT)):
            request += part
            if len(request) > REQUEST_LIMIT:
                raise AgentError("bad_request", f"the request is longer than {REQUEST_LIMIT} bytes")
    except TimeoutError:
        message = f"the request did not end within {REQUEST_WAIT:.0f} s"
        raise AgentError("bad_request", message) from None
    return bytes(request)


def main() -> int:
    try:
        answer = answer_to(sys.argv[1:])
    except AgentError as error:
        answer = {"ok": False, "error": error.code, "message": " ".join(str(error).split())}
    except (OSError, ValueError, RecursionError) as error:
        answer = {"ok": False, "error": "failed", "message": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
