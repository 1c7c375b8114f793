"""A proxy in miniature: a real HAProxy on sockets of its own, and stand-ins for systemd's tools."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from functools import cache
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bluegreen.agent_bundle import AGENT_DIRECTORY, AgentBundle, agent_bundle, pack
from bluegreen.color import Color
from bluegreen.traffic.haproxy_config import Server
from tests.haproxy_values import rendered
from tests.started import started
from tests.unit import agent_calls
from tests.unit.backend import Backend
from tests.unit.systemd_stand_ins import SETPRIV, SYSTEMCTL, SYSTEMD_RUN
from tests.waiting import until

PREVIEW_KEY = "not-a-secret-either"
BLUE_LIVE = ("live blue\nidle green\nidle_share 0\n",) * 2
GREEN_LIVE = ("live green\nidle blue\nidle_share 0\n",) * 2
INITIAL = {"live": None, "idle": "blue"}
REVISIONS = {Color.BLUE: "b" * 40, Color.GREEN: "c" * 40}
PEER = "127.0.0.21"
ADDRESSES = {Color.BLUE: ("127.0.0.11", "127.0.0.12"), Color.GREEN: ("127.0.0.13", "127.0.0.14")}


def has_ipv6() -> bool:
    """Whether this machine's loopback has an IPv6 address, which containers may lack."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def free_port() -> int:
    """Return a TCP port that is free on every loopback address."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port


@cache
def installed_haproxy() -> tuple[int, int]:
    """Return the version that these tests are run with: any that is first on the path."""
    text = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    major, minor = re.findall(r"\d+", text)[:2]
    return int(major), int(minor)


def edited_bundle(name: str, edit: Callable[[str], str]) -> AgentBundle:
    """Return a version of the agent of which one file is another."""
    with tempfile.TemporaryDirectory() as directory:
        copy = shutil.copytree(AGENT_DIRECTORY, Path(directory) / "agent")
        text = (copy / name).read_text()
        assert edit(text) != text
        (copy / name).write_text(edit(text))
        return pack(copy)


class LocalHaproxy:
    """Everything the agent needs, below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.http_port, self.https_port, self.stats_port, self.app_port = (free_port() for _ in range(4))
        self.monitor_port = free_port()
        self.config = root / "etc/haproxy/haproxy.cfg"
        self.map = root / "etc/haproxy/traffic.map"
        for directory in (self.config.parent, root / "run/haproxy", root / "bin"):
            directory.mkdir(parents=True)
        self.install(agent_bundle())
        for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN), ("setpriv", SETPRIV)):
            (root / "bin" / name).write_text(text)
            (root / "bin" / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "BLUEGREEN_ROOT": str(root),
            "BLUEGREEN_HTTP_PORT": str(self.http_port),
            "BLUEGREEN_HTTPS_PORT": str(self.https_port),
        }
        self.backends = {
            color: [Backend(address, self.app_port, REVISIONS[color]) for address in ADDRESSES[color]]
            for color in Color
        }

    def render(self, **changes: Any) -> str:
        """Render the project's configuration with this directory's paths and this test's ports."""
        values: dict[str, Any] = {
            "servers": {
                color: [
                    Server(f"my-perl-app-{color}-{number}", IPv4Address(address), self.app_port, 8)
                    for number, address in enumerate(ADDRESSES[color], 1)
                ]
                for color in Color
            },
            "haproxy_version": installed_haproxy(),
            "preview_key": PREVIEW_KEY,
            "ipv6": has_ipv6(),
        }
        return self.localize(rendered(**{**values, **changes}))

    def localize(self, config: str) -> str:
        """Let a configuration for /etc and root's ports run from here, as any user."""
        needs_root = ("user", "group", "daemon")
        lines = [
            line for line in config.splitlines() if line.split()[:1] not in ([word] for word in needs_root)
        ]
        text = "\n".join(lines) + "\n"
        for there, here in (
            ("/etc/haproxy/traffic.map", str(self.map)),
            ("/etc/haproxy/certificates/", f"{self.root}/etc/haproxy/certificates/"),
            ("/run/haproxy/", f"{self.root}/run/haproxy/"),
            ("bind *:80\n", f"bind 127.0.0.1:{self.http_port}\n"),
            ("bind *:443", f"bind 127.0.0.1:{self.https_port}"),
            ("bind 127.0.0.1:8404", f"bind 127.0.0.1:{self.stats_port}"),
            ("bind *:8405", f"bind 127.0.0.1:{self.monitor_port}"),
            ("bind :::80 v6only", f"bind [::1]:{self.http_port}"),
            ("bind :::443 v6only", f"bind [::1]:{self.https_port}"),
            ("bind :::8405 v6only", f"bind [::1]:{self.monitor_port}"),
        ):
            text = text.replace(there, here)
        return text

    def install(self, bundle: AgentBundle) -> None:
        """Let a version of the agent be called from now on."""
        self.installed_agent = self.root / "usr/local/lib/bluegreen" / bundle.name
        self.installed_agent.parent.mkdir(parents=True, exist_ok=True)
        self.installed_agent.write_bytes(bundle.data)

    def install_edited(self, name: str, edit: Callable[[str], str]) -> None:
        """Let a version of the agent be called from now on of which one file is another."""
        self.install(edited_bundle(name, edit))

    def command(self, verb: str, request: dict[str, Any]) -> list[str]:
        """Command line of one call of the agent."""
        return [sys.executable, str(self.installed_agent), verb, json.dumps(request)]

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call the agent and return its answer, whether it agreed or refused."""
        done = agent_calls.call(self.command(verb, request), self.environment, 60)
        assert done.stdout.count("\n") == 1, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if answer["ok"] else 1)
        return answer

    def ok(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call the agent and demand that it agrees."""
        answer = self.call(verb, **request)
        assert answer["ok"], answer
        return answer

    def refused(self, verb: str, **request: Any) -> tuple[str, str]:
        """Call the agent, demand that it refuses, and return its code and message."""
        answer = self.call(verb, **request)
        assert not answer["ok"], answer
        assert "\n" not in answer["message"]
        return answer["error"], answer["message"]

    def start(self, config: str) -> None:
        """Start HAProxy behind the agent's back, as a package's installation does."""
        self.config.write_text(config)
        subprocess.run(
            [str(self.root / "bin/systemctl"), "start", "haproxy"], env=self.environment, check=True
        )
        until(lambda: (self.root / "run/haproxy-master.sock").exists() and bool(self.ask("show info")))

    def send_reload(self) -> None:
        """Tell HAProxy to reload, and do not wait for it."""
        master = self.master()
        assert master is not None
        os.kill(master, signal.SIGUSR2)

    def reload_by_hand(self) -> None:
        """Reload HAProxy without the agent, and wait until a new worker is there."""
        worker = self.ask("show info").partition("\nPid: ")[2].split("\n")[0]
        self.send_reload()
        until(lambda: "\nPid: " in (info := self.ask("show info")) and f"\nPid: {worker}\n" not in info)

    def ask(self, command: str, where: str = "run/haproxy/admin.sock") -> str:
        """Send a command to one of HAProxy's sockets; empty if it does not answer."""
        answer = b""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(self.root / where))
            connection.sendall(command.encode() + b"\n")
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        return answer.decode()

    def get(self, path: str = "/", host: str = "example.com") -> tuple[int, str | None, str | None]:
        """One request through HAProxy: status, color, revision."""
        connection = HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers["X-Color"], response.headers["X-Revision"]
        finally:
            connection.close()

    def get_https(self) -> tuple[int, str | None, str | None]:
        """One request over TLS, with whatever certificate: status, color, revision."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = HTTPSConnection("127.0.0.1", self.https_port, timeout=10, context=trusting)
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.headers["X-Color"], response.headers["X-Revision"]

    def seen_headers(self, headers: dict[str, str]) -> Message:
        """Send a request with some headers through HAProxy and return those that the server has got."""
        connection = HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        connection.request("GET", "/headers", headers=headers)
        connection.getresponse().read()
        everyone = [backend.headers for members in self.backends.values() for backend in members]
        return next(seen for seen in everyone if seen.keys())

    def timers(self) -> list[list[str]]:
        """Command lines of all timers that were ever armed."""
        file = self.root / "timers"
        return [line.split("\t")[:-1] for line in file.read_text().splitlines()] if file.exists() else []

    def systemctl_calls(self) -> list[str]:
        """Command lines that the agent gave to systemctl."""
        file = self.root / "systemctl.log"
        return file.read_text().splitlines() if file.exists() else []

    def master(self) -> int | None:
        """Process id of the HAProxy that this test has started."""
        file = self.root / "run/haproxy.pid"
        return int(file.read_text()) if file.exists() else None

    def stop_haproxy(self) -> None:
        """End HAProxy, all its workers included."""
        if (pid := self.master()) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            (self.root / "run/haproxy.pid").unlink()

    def stop(self) -> None:
        """End HAProxy and the backends."""
        self.stop_haproxy()
        for backend in (backend for members in self.backends.values() for backend in members):
            backend.close()


def lock(world: LocalHaproxy) -> int:
    """Take the lock, and return its token."""
    token: int = world.ok("lock", owner="deploy", run_id="run-1", ref="v1")["token"]
    return token


def snapshot(world: LocalHaproxy) -> dict[str, tuple[int, bytes]]:
    """Every file of the proxy: when it was changed, and its content."""
    # Every call writes itself down, and a run's call renews its lease.
    ignored = {"run/haproxy", "haproxy.log", "var/lib/bluegreen/lock.json", "run/bluegreen.lock"}
    return {
        str(path.relative_to(world.root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in world.root.rglob("*")
        if path.is_file() and not any(str(path.relative_to(world.root)).startswith(name) for name in ignored)
    }


def fire(world: LocalHaproxy, number: int) -> dict[str, Any]:
    """Do what systemd does when a timer's time has come."""
    command = world.timers()[number]
    done = agent_calls.call(command[command.index("revert") - 2 :], world.environment, 60)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def local_haproxy() -> Iterator[LocalHaproxy]:
    """Make one; its directory has a short name because the names of sockets must be short."""
    with tempfile.TemporaryDirectory(prefix="lb") as directory:
        world = LocalHaproxy(Path(directory))
        try:
            yield world
        finally:
            world.stop()


class Deployed:
    """A proxy with blue live and confirmed, green healthy, and the lock held."""

    def __init__(self, world: LocalHaproxy) -> None:
        self.world = world
        self.token: int = world.ok("lock", owner="deploy", run_id="run-1", ref="v1")["token"]
        self.sync(world.render())
        self.switch(Color.BLUE)
        self.world.ok("confirm", token=self.token, revision=REVISIONS[Color.BLUE])

    def sync(self, config: str) -> dict[str, Any]:
        """Install a configuration."""
        return self.world.ok("sync", **self.sync_request(config))

    def sync_request(self, config: str) -> dict[str, Any]:
        """Everything that ``sync`` wants."""
        return {"token": self.token, "config": config, "initial": {"live": None, "idle": "blue"}}

    def switch_request(self, to: Color, **changes: Any) -> dict[str, Any]:
        """Everything that ``switch`` wants."""
        return {
            "token": self.token,
            "to": to,
            "revision": REVISIONS[to],
            "started": started(REVISIONS[to]),
            "confirm_within": 60,
            "min_servers": 2,
            "health_path": "/health",
            **changes,
        }

    def switch(self, to: Color, **changes: Any) -> dict[str, Any]:
        """Move traffic."""
        return self.world.ok("switch", **self.switch_request(to, **changes))

    def maps(self) -> tuple[str, str]:
        """What the file says, and what HAProxy says, each as text."""
        rows = self.world.ask(f"show map {self.world.map}").splitlines()
        return self.world.map.read_text(), "".join(row.partition(" ")[2] + "\n" for row in rows if row)

    def set_health(self, color: Color, *healthy: bool) -> None:
        """Make servers sick or well, and wait until HAProxy has noticed."""
        for backend, well in zip(self.world.backends[color], healthy, strict=True):
            backend.healthy = well
        until(lambda: [server["up"] for server in self.status()["servers"][color]] == list(healthy))

    def status(self) -> dict[str, Any]:
        """What the agent says."""
        return self.world.ok("status")

    def forget(self, key: str) -> None:
        """Let the agent's state be that of a version which did not have this."""
        file = self.world.root / "var/lib/bluegreen/traffic.json"
        state = json.loads(file.read_text())
        del state[key]
        file.write_text(json.dumps(state))

    def pending(self) -> dict[str, Any] | None:
        """Return the switch that waits to be confirmed."""
        pending: dict[str, Any] | None = self.status()["pending"]
        return pending


@contextlib.contextmanager
def peer(deployed: Deployed, color: str) -> Iterator[None]:
    """Another proxy, which sends its traffic to a color."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("X-Color", color)
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer((PEER, deployed.world.http_port), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield
        server.shutdown()
