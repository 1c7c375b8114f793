"""The traffic judge against a real HAProxy: silent when nothing is wrong, and not when something is."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sandbox.traffic_records import read, summarize
from tests.waiting import until

HAPROXY = "/usr/sbin/haproxy"
ROOT = Path(__file__).resolve().parents[2]
REVISIONS = {"blue": "b" * 40, "green": "9" * 40}
CHANGES = 4

pytestmark = pytest.mark.skipif(not Path(HAPROXY).exists(), reason="haproxy is not installed")

# As in the shell scripts that this project replaces, less what needs a user of its own.
SCRIPTS_CONFIGURATION = """\
global
    log 127.0.0.1 local0
    stats socket {directory}/admin.sock mode 600 level admin expose-fd listeners
    stats timeout 30s
defaults
    log global
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client 50000
    timeout server 50000
frontend http_frontend
    bind 127.0.0.1:{port}
    mode http
    default_backend {live}_backend
"""

MAP_CONFIGURATION = SCRIPTS_CONFIGURATION.replace(
    "    default_backend {live}_backend\n",
    "    use_backend %[str(live),map_str({directory}/traffic.map)]_backend\n",
)

BACKEND = """\
backend {color}_backend
    mode http
    balance roundrobin
    http-response set-header X-Color {color}
    server {color}1 127.0.0.1:{port} check
"""


class _App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    revision = ""

    def do_GET(self) -> None:
        self._answer(b"hello\n")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nX-Revision: {self.revision}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_: Any) -> None:
        """Nothing: standard error belongs to the tests."""


class _AppServer(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Nothing: HAProxy's stopping workers reset their connections, as they should."""


@pytest.fixture(scope="module")
def backends() -> Iterator[str]:
    """The two colors' backend sections, with a little server behind each."""
    servers, sections = [], []
    for color, revision in REVISIONS.items():
        server = _AppServer(("127.0.0.1", 0), type("App", (_App,), {"revision": revision}))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        sections.append(BACKEND.format(color=color, port=server.server_port))
    yield "".join(sections)
    for server in servers:
        server.shutdown()
        server.server_close()


class Haproxy:
    """A master and its workers, in a directory of their own."""

    def __init__(self, directory: Path, template: str, backends: str) -> None:
        self.directory = directory
        self._template = template
        self._backends = backends
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.configure("blue")
        (directory / "traffic.map").write_text("live blue\n", encoding="utf-8")
        self.start()

    def configure(self, live: str) -> None:
        text = self._template.format(directory=self.directory, port=self.port, live=live) + self._backends
        (self.directory / "haproxy.cfg").write_text(text, encoding="utf-8")

    def start(self) -> None:
        # -W: master and workers, as Debian's unit runs it.
        self._master = subprocess.Popen([HAPROXY, "-W", "-q", "-f", str(self.directory / "haproxy.cfg")])
        until(self._answers, "HAProxy answers")

    def stop(self) -> None:
        self._master.terminate()
        self._master.wait(timeout=10)

    def reload(self) -> None:
        self._master.send_signal(signal.SIGUSR2)

    def set_live(self, color: str) -> None:
        with socket.socket(socket.AF_UNIX) as admin:
            admin.connect(str(self.directory / "admin.sock"))
            admin.sendall(f"set map {self.directory}/traffic.map live {color}\n".encode())
            assert admin.recv(4096) == b"\n"

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return connection.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


@pytest.fixture
def start_haproxy(tmp_path: Path, backends: str) -> Iterator[Callable[[str], Haproxy]]:
    started: list[Haproxy] = []

    def start(template: str) -> Haproxy:
        started.append(Haproxy(tmp_path, template, backends))
        return started[-1]

    yield start
    for haproxy in started:
        haproxy.stop()


class Judge:
    """The judge's own process, used as a demo uses it: reading its records while it runs."""

    def __init__(self, port: int, directory: Path) -> None:
        self.records = directory / "records.tsv"
        self._out = directory / "result.json"
        command = [
            sys.executable,
            "-m",
            "sandbox.traffic_cli",
            "traffic",
            "--url",
            f"http://127.0.0.1:{port}/",
        ]
        command += ["--duration", "40", "--records", str(self.records), "--out", str(self._out)]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        self.more_traffic(200)

    def more_traffic(self, requests: int) -> None:
        """Return when so many more requests have ended."""
        enough = len(read(self.records)) + requests
        until(lambda: len(read(self.records)) >= enough, f"{enough} requests made")

    def finish(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=15)
        result: dict[str, Any] = json.loads(self._out.read_text(encoding="utf-8"))
        assert status == (1 if result["failed"] else 0)
        return result


@pytest.fixture
def start_judge(tmp_path: Path) -> Iterator[Callable[[Haproxy], Judge]]:
    started: list[Judge] = []

    def start(haproxy: Haproxy) -> Judge:
        started.append(Judge(haproxy.port, tmp_path))
        return started[-1]

    yield start
    for judge in started:
        if judge.process.poll() is None:
            judge.process.kill()
            judge.process.wait()


StartHaproxy = Callable[[str], Haproxy]
StartJudge = Callable[[Haproxy], Judge]


def test_nothing_happens_and_nothing_fails(start_haproxy: StartHaproxy, start_judge: StartJudge) -> None:
    judge = start_judge(start_haproxy(SCRIPTS_CONFIGURATION))
    judge.more_traffic(1000)
    result = judge.finish()
    assert result["requests"] >= 1200
    assert result["failed"] == 0, result["failures"]
    assert result["ok"] == result["requests"]
    assert result["colors"] == {"blue": result["requests"]}
    assert result["revisions"] == {REVISIONS["blue"]: result["requests"]}
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p99"] <= result["latency_ms"]["max"]


def test_result_and_records_agree(start_haproxy: StartHaproxy, start_judge: StartJudge) -> None:
    """A restart in the middle: whatever fails, no request is lost or counted twice."""
    haproxy = start_haproxy(SCRIPTS_CONFIGURATION)
    judge = start_judge(haproxy)
    haproxy.stop()
    haproxy.start()
    judge.more_traffic(200)
    result = judge.finish()
    assert result["requests"] == result["ok"] + result["app_errors"] + result["failed"]
    assert result["failed"] == sum(failure["count"] for failure in result["failures"].values())
    assert summarize(read(judge.records)).as_json() == {
        key: value for key, value in result.items() if key not in ("url", "clients", "started", "ended")
    }


def test_restart_is_found_guilty(start_haproxy: StartHaproxy, start_judge: StartJudge) -> None:
    haproxy = start_haproxy(SCRIPTS_CONFIGURATION)
    judge = start_judge(haproxy)
    for _ in range(2):
        haproxy.stop()
        haproxy.start()
        judge.more_traffic(200)
    result = judge.finish()
    assert result["failed"] > 0
    assert set(result["failures"]) <= {"refused", "reset", "eof"}


def test_default_reload_of_the_shell_scripts_is_found_guilty(
    start_haproxy: StartHaproxy, start_judge: StartJudge
) -> None:
    haproxy = start_haproxy(SCRIPTS_CONFIGURATION)
    judge = start_judge(haproxy)
    for turn in range(CHANGES):
        haproxy.configure("green" if turn % 2 == 0 else "blue")
        haproxy.reload()
        judge.more_traffic(300)
    result = judge.finish()
    assert result["failed"] > 0
    assert set(result["colors"]) == {"blue", "green"}


def test_runtime_map_switch_is_innocent(start_haproxy: StartHaproxy, start_judge: StartJudge) -> None:
    haproxy = start_haproxy(MAP_CONFIGURATION)
    judge = start_judge(haproxy)
    for turn in range(CHANGES):
        color, other = ("green", "blue") if turn % 2 == 0 else ("blue", "green")
        haproxy.set_live(color)
        switched = time.time()
        judge.more_traffic(300)
        after = summarize(read(judge.records), since=switched)
        assert set(after.colors) == {color}, (
            f"{other} answered {after.last_start[other] - switched:.3f} s late"
        )
    result = judge.finish()
    assert result["failed"] == 0, result["failures"]
    assert set(result["colors"]) == {"blue", "green"}


def test_unusable_address_is_one_clear_line() -> None:
    command = [sys.executable, "-m", "sandbox.traffic_cli", "traffic", "--url", "ftp://127.0.0.1/"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stderr.splitlines() == [
        "traffic: 'ftp://127.0.0.1/' cannot be asked; give http://host[:port]/"
    ]
