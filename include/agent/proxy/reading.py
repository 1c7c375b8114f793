"""The verbs that read a proxy: they change nothing, hold no lock, and are run from memory."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from ipaddress import IPv4Address

from agent.call import Call
from agent.call_lock import in_peace
from agent.fields import number, text
from agent.http_client import Question, http_get
from agent.protocol import COLORS, AgentError, Code, Json
from agent.proxy.certificate_paths import certificate_paths
from agent.proxy.haproxy import knows_ipv6
from agent.proxy.ledger import Ledger
from agent.proxy.machine import Proxy
from agent.proxy.messages import LedgerAnswer, ProbeAnswer, Status

# Servers that one call asks, and bytes of the stack of the thread that asks one of them.
MOST_SERVERS, STACK_SIZE = 256, 1 << 18


def status(call: Call, _request: Json) -> Status:
    """Return everything that is known of this proxy.

    Request: nothing. Answer: ``messages.Status``. Codes: ``bad_state``, ``too_slow``. HAProxy's sockets that
    are silent are asked once, and their part of the answer is empty. It is read while no other call changes
    anything, if there is such a moment. A kill leaves nothing.
    """
    return in_peace(call.lock, lambda: _status(Proxy(call)))


def _status(proxy: Proxy) -> Status:
    proxy.haproxy.ask_until_silent()
    processes, running = proxy.haproxy.processes(), proxy.haproxy.running_map()
    in_file, state = proxy.traffic.in_file(), proxy.state.read()
    return {
        "haproxy": {
            "version": proxy.haproxy.version(),
            "running": processes is not None and bool(processes.workers),
            "config_sha256": proxy.configuration.running_digest(),
            "file_sha256": proxy.configuration.file_digest(),
            "workers": len(processes.workers) if processes else 0,
            "old_workers": len(processes.old) if processes else 0,
            "ipv6": knows_ipv6(),
            "root": proxy.haproxy.is_root(),
        },
        "live": running.live_color if running else None,
        "idle": running.idle if running else None,
        "map_file": asdict(in_file) if in_file else None,
        "map_running": asdict(running) if running else None,
        "consistent": running is not None and running == in_file,
        "servers": {color: proxy.haproxy.servers(color) for color in COLORS},
        "counters": proxy.counters(),
        "answer_times": proxy.answer_times(),
        "sessions": proxy.haproxy.sessions(),
        "lock": _lock_for_people(proxy),
        "last_token": proxy.lock_store.last_token(),
        "ledger": _head_of_ledger(proxy),
        "certificates": certificate_paths(proxy.paths),
        **state,
        "agent": {"path": str(proxy.installation.path), "difference": proxy.installation.difference()},
        "now": time.time(),
    }


def _head_of_ledger(proxy: Proxy) -> str | None:
    """Who is live is worth knowing with a broken ledger, too."""
    with contextlib.suppress(OSError):
        return proxy.ledger.head()
    return None


def _lock_for_people(proxy: Proxy) -> Json | None:
    holder = proxy.lock_store.holder()
    if not holder:
        return None
    contracts = bool(holder.get("begun", {}).get("contracted"))
    return {**holder, "until": proxy.lock_store.until(holder), "contracts": contracts}


def probe(_call: Call, request: Json) -> ProbeAnswer:
    """Make one GET to each of some servers from this proxy, all at once.

    Request: ``servers``, each with ``address`` (IPv4) and ``port``; ``timeout`` in seconds, ``path``, and
    ``messages.QuestionFields``. Answer: ``answers``, a ``protocol.Probe`` each, in the same order; no answer
    of an app is a result, too. Codes: ``bad_request``. A kill leaves nothing.
    """
    servers, question = _servers_in(request), Question.of(request)
    timeout = number(request, "timeout", 0.01, 60)
    threading.stack_size(STACK_SIZE)
    with ThreadPoolExecutor(len(servers)) as pool:
        asked = [pool.submit(http_get, address, port, question, timeout) for address, port in servers]
        return {"answers": [each.result() for each in asked]}


def _servers_in(request: Json) -> list[tuple[str, int]]:
    servers = request.get("servers")
    if not isinstance(servers, list) or not 1 <= len(servers) <= MOST_SERVERS:
        raise AgentError(Code.BAD_REQUEST, f"servers: they are no list of 1 to {MOST_SERVERS}")
    found = []
    for server in servers:
        if not isinstance(server, dict):
            raise AgentError(Code.BAD_REQUEST, f"servers: {server!r:.60} is no address and port")
        address = str(IPv4Address(text(server, "address", r"[0-9.]+")))
        found.append((address, int(number(server, "port", 1, 65535))))
    return found


def ledger(call: Call, request: Json) -> LedgerAnswer:
    """Return how the last runs have ended.

    Request: ``last``, how many (10). Answer: ``records``, oldest first. Codes: ``bad_request``. A kill leaves
    nothing.
    """
    last = int(number({"last": 10, **request}, "last", 1, 10000))
    return {"records": Ledger(call.paths.ledger).records()[-last:]}
