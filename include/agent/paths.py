"""Where things are on a machine."""

from __future__ import annotations

import os
from pathlib import Path

# Below the root of a machine: the versions of the agent, and systemd's units.
AGENTS, UNITS = "usr/local/lib/bluegreen", "etc/systemd/system"
# Below the units: what is changed about HAProxy's.
DROP_IN = "haproxy.service.d/unprivileged.conf"


class Paths:
    """Every path that the agent reads or writes; ``BLUEGREEN_ROOT`` moves all of them for tests.

    ``http_port`` and ``https_port`` are HAProxy's public ports, which ``BLUEGREEN_HTTP_PORT`` and
    ``BLUEGREEN_HTTPS_PORT`` move.
    """

    def __init__(self) -> None:
        root = Path(os.environ.get("BLUEGREEN_ROOT", "/"))
        self.root = root
        self.http_port = int(os.environ.get("BLUEGREEN_HTTP_PORT", "80"))
        self.https_port = int(os.environ.get("BLUEGREEN_HTTPS_PORT", "443"))
        self.flock = root / "run/bluegreen.lock"
        self.journal = root / "dev/log"
        self.agents = root / AGENTS
        self.units = root / UNITS
        self.transient_units = root / "run/systemd/transient"
        self.haproxy_drop_in = self.units / DROP_IN
        self.config = root / "etc/haproxy/haproxy.cfg"
        self.certificates = root / "etc/haproxy/certificates"
        self.map = root / "etc/haproxy/traffic.map"
        self.admin_socket = root / "run/haproxy/admin.sock"
        self.master_socket = root / "run/haproxy-master.sock"
        state = root / "var/lib/bluegreen"
        self.lock, self.traffic = state / "lock.json", state / "traffic.json"
        self.loaded, self.installed = state / "loaded.json", state / "installed.json"
        self.ledger = state / "ledger.jsonl"
