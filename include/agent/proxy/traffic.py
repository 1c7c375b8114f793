"""Moving traffic: the map's file, HAProxy's copy of it, and the answers that prove them."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from agent.http_client import Question, http_get
from agent.paths import Paths
from agent.protocol import NOTHING, AgentError, Code, Json
from agent.proxy.haproxy import Haproxy
from agent.proxy.messages import Moved, Server
from agent.proxy.switch_state import SwitchState
from agent.proxy.traffic_map import TrafficMap
from agent.system import write_atomically

# Seconds to wait for health checks, and for the first answer of the new color.
HEALTH_WAIT, ANSWER_WAIT = 5.0, 3.0
# Seconds for one answer of an app, and of one of many apps that are asked in turn.
APP_WAIT, SHORT_APP_WAIT = 2.0, 1.0
# Seconds for one small file, before traffic is moved back without it.
DISK_WAIT = 3.0
# Of a switch's seconds, those that are kept for putting traffic back.
PUT_BACK = 10.0


class Traffic:
    """Who is live: the map's file, and HAProxy's copy of it."""

    def __init__(self, paths: Paths, haproxy: Haproxy, state: SwitchState) -> None:
        self.paths, self.haproxy, self.state = paths, haproxy, state
        self.deadline = haproxy.deadline

    def in_file(self) -> TrafficMap | None:
        """The file's map; None if there is none, or it is not complete."""
        file = self.paths.map
        return TrafficMap.parse(file.read_text(errors="replace")) if file.exists() else None

    def write_file(self, wanted: TrafficMap) -> None:
        """Replace the file; everybody may read it."""
        write_atomically(self.paths.map, str(wanted).encode(), 0o644)

    def running(self) -> TrafficMap:
        """HAProxy's copy of the map.

        :raises AgentError: with the code ``haproxy_down`` if HAProxy does not answer, or has none.
        """
        running = self.haproxy.running_map()
        if running is None:
            what = "has no usable traffic map" if self.haproxy.processes() else "does not run"
            raise AgentError(
                Code.HAPROXY_DOWN, f"HAProxy {what}, nothing was moved; deploy again to repair it"
            )
        return running

    def is_at(self, wanted: TrafficMap) -> bool:
        """Whether this is HAProxy's map and the file's."""
        return self.haproxy.running_map() == wanted == self.in_file()

    def wanted(self, initial: Json) -> TrafficMap:
        """The running map, else the file's, else what the caller starts with."""
        known = self.haproxy.running_map() or self.in_file()
        if known is None and self.paths.map.exists():
            advice = "correct it, or remove it to start with nothing live"
            raise AgentError(Code.BAD_MAP, f"neither {self.paths.map} nor HAProxy says who is live; {advice}")
        start = f"live {initial.get('live') or NOTHING}\nidle {initial.get('idle')}\nidle_share 0"
        wanted = known or TrafficMap.parse(start)
        if wanted is None:
            raise AgentError(Code.BAD_REQUEST, f"initial: {initial!r:.60} is not usable")
        return wanted

    def require_health(self, color: str, revision: str, minimum: int, question: Question) -> None:
        """Every server that HAProxy would use has to give a good answer, with the revision.

        :raises AgentError: with the code ``unhealthy``, naming the server and its answer.
        """

        def all_up() -> list[Server] | None:
            servers = self.haproxy.servers(color)
            return servers if len(servers) >= minimum and all(server["up"] for server in servers) else None

        servers = self.deadline.wait_for(HEALTH_WAIT, all_up) or self.haproxy.servers(color)
        up = [server for server in servers if server["up"]]
        if len(up) < minimum:
            unhealthy = [f"{server['name']}: {server['check']}" for server in servers if not server["up"]]
            why = ", ".join(unhealthy) or "no others exist"
            message = f"{color} has {len(up)} healthy servers of {minimum} ({why}); nothing moved"
            raise AgentError(Code.UNHEALTHY, message)
        for server in up:
            seconds = self.deadline.left(APP_WAIT)
            answer = http_get(server["address"], server["port"], question, seconds)
            if not question.is_good(answer) or answer["revision"] != revision:
                got = answer["error"] or f"status {answer['status']}, revision {answer['revision']}"
                asked = f" (Host {question.host})" if question.host else ""
                wrong = f"{server['name']} answers {question.path}{asked} with {got}"
                wanted = f"not with status {question.good} and {revision[:12]}"
                raise AgentError(Code.UNHEALTHY, f"{wrong}, {wanted}; nothing moved")

    def require_one_server(self, color: str, live: str) -> None:
        """Refuse to move traffic to a color that cannot answer.

        :raises AgentError: with the code ``unhealthy``.
        """

        def any_up() -> bool | None:
            return any(server["up"] for server in self.haproxy.servers(color)) or None

        if not self.deadline.wait_for(HEALTH_WAIT, any_up):
            message = f"{color} has no healthy server to go back to; live is still {live}"
            raise AgentError(Code.UNHEALTHY, message)

    def move(self, wanted: TrafficMap, question: Question, revision: str | None = None) -> Moved:
        """Move traffic and prove it: the file, the running map, and a real answer.

        :raises AgentError: with the code ``not_moved``.
        """
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
            raise AgentError(Code.NOT_MOVED, f"no answer from {wanted.live} came through HAProxy")
        self.state.remember(moved_at=at)
        return {"milliseconds": milliseconds, "at": at}

    def move_or_put_back(
        self, wanted: TrafficMap, back: TrafficMap, question: Question, revision: str | None = None
    ) -> Moved:
        """Move traffic, or leave it where it was.

        :raises AgentError: with the code ``not_moved`` or ``too_slow``; the message says what is live.
        """
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
        """Write the file in a child process: a process that waits for a disk cannot be interrupted."""
        writer = os.fork()
        if writer == 0:
            with contextlib.suppress(BaseException):
                # The flock among them: a child that hangs must not keep it.
                os.closerange(3, 1024)
                self.write_file(wanted)
            os._exit(0)
        if self.deadline.wait_for(DISK_WAIT, lambda: os.waitpid(writer, os.WNOHANG)[0] or None):
            return False
        os.kill(writer, signal.SIGKILL)
        return True

    def move_back(self, wanted: TrafficMap, question: Question) -> Moved:
        """Move traffic whatever becomes of the file: clients come first.

        :raises AgentError: with the code ``not_written`` if traffic moved and the file was not written.
        """
        if self._disk_hangs(wanted):
            self.haproxy.set_map(wanted)
            moved = f"traffic goes to {wanted.live} again, but {self.paths.map} was not written"
            raise AgentError(
                Code.NOT_WRITTEN, f"{moved} within {DISK_WAIT:.0f} s; see what its disk waits for"
            )
        try:
            return self.move(wanted, question)
        except OSError as error:
            self.haproxy.set_map(wanted)
            moved = f"traffic goes to {wanted.live} again, but {self.paths.map} cannot be written"
            raise AgentError(Code.NOT_WRITTEN, f"{moved} ({error.strerror}); make room on the disk") from None
