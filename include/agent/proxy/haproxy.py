"""The running HAProxy: its sockets, statistics and old workers."""

from __future__ import annotations

import csv
import re
import socket
from pathlib import Path

from agent.paths import Paths
from agent.protocol import COLORS, OLDEST_HAPROXY, AgentError, Code
from agent.proxy.messages import Counters, Server
from agent.proxy.processes import Processes
from agent.proxy.traffic_map import TrafficMap
from agent.system import CallDeadline, since_boot

# Seconds for a reload, and for one answer of HAProxy's sockets; bytes of such an answer.
RELOAD_WAIT, SOCKET_WAIT, SOCKET_LIMIT = 15.0, 5.0, 1 << 23


class Haproxy:
    """The running HAProxy, through its admin socket and its master's socket."""

    def __init__(self, paths: Paths, deadline: CallDeadline) -> None:
        self.paths, self.deadline = paths, deadline
        # A reader's sockets that have not answered in time. Other verbs ask them again.
        self._silent: set[Path] | None = None

    def ask_until_silent(self) -> None:
        """From now on, ask a socket that did not answer in time no more: a reader has other questions."""
        self._silent = set()

    def ask(self, command: str) -> str:
        """A command on the admin socket; an empty string if HAProxy does not answer."""
        return self._talk(self.paths.admin_socket, command)

    def processes(self) -> Processes | None:
        """What its master lists; None if it does not answer, as during a reload."""
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

    def is_root(self) -> bool | None:
        """Whether its master has root's rights; None if it does not run."""
        processes = self.processes()
        try:
            return Path(f"/proc/{processes.master}").stat().st_uid == 0 if processes else None
        except OSError:
            return None

    def serves(self) -> bool:
        """Whether clients may be connected: it listens somewhere, or does not answer."""
        table = self.ask("show stat")
        return not table or ",FRONTEND," in table

    def running_map(self) -> TrafficMap | None:
        """HAProxy's copy of the map; None if there is none, or it is not complete."""
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
                Code.NOT_MOVED, "HAProxy knows no traffic map, nothing has changed; deploy again to repair it"
            )
        self._require_silence(f"add map @{version} {self.paths.map} <<\n{wanted}")
        self._require_silence(f"commit map @{version} {self.paths.map}")
        self._lead_old_workers(wanted)

    def version(self) -> str:
        """Return for example ``2.6.12``; ``0.0`` if it is not known."""
        text = self.ask("show info") or self.deadline.run("haproxy", "-v")[1]
        found = re.search(r"[Vv]ersion:? (\d+\.\d+(?:\.\d+)?)", text)
        return found[1] if found else "0.0"

    def require_support(self) -> None:
        """Refuse a version that cannot do what is asked of it; one that is not known is refused elsewhere."""
        version = self.version()
        if (0, 0) < tuple(int(number) for number in version.split(".")[:2]) < OLDEST_HAPROXY:
            needed = ".".join(map(str, OLDEST_HAPROXY))
            message = f"HAProxy {version} is too old, {needed} or later is needed; nothing was changed"
            raise AgentError(Code.UNSUPPORTED, message)

    def worker(self) -> int | None:
        """Process id of the worker that answers on the admin socket."""
        found = re.search(r"^Pid: (\d+)", self.ask("show info"), re.MULTILINE)
        return int(found[1]) if found else None

    def sessions(self) -> dict[str, int]:
        """Requests and upgraded connections in progress, by color; old workers finish those they have."""
        table = self.ask("show stat")
        found = {color: self._in_progress(table, f"{color}_backend") for color in COLORS}
        # During a reload nothing lists the worker that is being replaced, and what it is busy with.
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

        Such a worker checks no server any more: if none was up when it was replaced, it keeps its map. The
        master hands it a command that begins with ``@!<pid>``: management guide, 9.4 "Master CLI".
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

    def servers(self, color: str) -> list[Server]:
        """What HAProxy's health checks say; a server counts as up after its first check, not before."""
        found: list[Server] = []
        for row in self._rows(f"{color}_backend"):
            if row["svname"] != "BACKEND":
                (address, _, port), check = row["addr"].rpartition(":"), row["check_status"].lstrip("* ")
                up = row["status"].startswith("UP") and check.startswith("L7OK")
                server: Server = {
                    "name": row["svname"],
                    "address": address,
                    "port": int(port),
                    "maxconn": int(row["slim"] or 0) or None,
                    "up": up,
                    "check": check,
                }
                found.append(server)
        return found

    def counters(self, color: str) -> Counters:
        """What HAProxy counted for a color since its last reload."""
        backend = self._backend(color)
        return {
            "requests": int(backend.get("req_tot") or 0),
            "responses_5xx": int(backend.get("hrsp_5xx") or 0),
            "connection_errors": int(backend.get("econ") or 0),
            "retries": int(backend.get("wretr") or 0),
            "redispatches": int(backend.get("wredis") or 0),
        }

    def answer_time(self, color: str) -> int:
        """Milliseconds in the queue and until the answer's head, on average of the last 1024 requests.

        The window is HAProxy's: management guide, 9.1 "CSV format", `qtime`, `ctime` and `rtime`.
        """
        backend = self._backend(color)
        return sum(int(backend.get(field) or 0) for field in ("qtime", "ctime", "rtime"))

    def _backend(self, color: str) -> dict[str, str]:
        return next((row for row in self._rows(f"{color}_backend") if row["svname"] == "BACKEND"), {})

    def _rows(self, proxy: str, table: str | None = None) -> list[dict[str, str]]:
        lines = (self.ask("show stat") if table is None else table).lstrip("# ").splitlines()
        return [dict(row) for row in csv.DictReader(lines) if row["pxname"] == proxy]

    def _require_silence(self, command: str) -> None:
        # HAProxy reports a failed command in its answer only; success is an empty line.
        answer = self.ask(command).strip()
        if answer:
            raise AgentError(Code.NOT_MOVED, f"HAProxy refused {command.split(' ')[0]} map: {answer}")

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


def knows_ipv6() -> bool:
    """Whether HAProxy can listen on IPv6: the kernel may have been started without it."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True
