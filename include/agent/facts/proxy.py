"""What a deploy finds on a proxy, besides the answer of the verb ``status``."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.facts.bounded import LONGEST_LINE, run
from agent.facts.certificates import certificates
from agent.facts.machine import machine
from agent.facts.ports import ports_in, try_ports
from agent.facts.probes import pages, probes
from agent.paths import Paths
from agent.protocol import Json
from agent.proxy.ledger import Ledger
from agent.proxy.ledger_chain import chain
from agent.proxy.unprivileged import AS_HAPROXY
from agent.system import CallDeadline

MAP = "/etc/haproxy/traffic.map"
# Certificates that Airflow delivers.
DELIVERED = r" crt (/etc/haproxy/certificates/\S+)"


def proxy(deadline: CallDeadline, request: Json) -> Json:
    """Return what a deploy finds on a proxy.

    :param request: of :func:`machine`, :func:`probes`, :func:`pages` and :func:`ports_in`, and
        ``certificates`` (the paths of PEM files, or of directories of them) and ``config`` (what a deploy
        would install, or None).
    """
    with ThreadPoolExecutor(1) as pool:
        tried = pool.submit(try_ports, ports_in(request))
        return {**_facts(deadline, request), "ports": tried.result()}


def _facts(deadline: CallDeadline, request: Json) -> Json:
    found, more = certificates(request["certificates"])
    return {
        **machine(deadline, request),
        "config_error": config_error(deadline, request["config"]) if request["config"] else None,
        "certificates": found,
        "more_certificates": more,
        "probes": probes(deadline, request),
        "pages": pages(deadline, request),
        "ledger": chain(Ledger(Paths().ledger), deadline),
    }


def config_error(deadline: CallDeadline, config: str) -> str:
    """Return why HAProxy, which is not root, refuses a configuration; empty if it does not.

    HAProxy reads the configuration, which holds a secret, from its standard input.
    """
    if shutil.which("haproxy") is None:
        return "haproxy is not installed"
    if not Path(MAP).exists():
        # The first deploy writes it.
        config = config.replace(MAP, "/dev/null")
    config = without_missing_certificates(config)
    status, output = run(deadline, *AS_HAPROXY, "haproxy", "-c", "-f", "/dev/stdin", text=config)
    if status == 0:
        return ""
    alerts = [line for line in output.splitlines() if "ALERT" in line] or output.splitlines()
    return alerts[0][:LONGEST_LINE] if alerts else "no reason given"


def without_missing_certificates(config: str) -> str:
    """Return a configuration without the certificates that a deploy delivers before it installs it."""
    lines = []
    for line in config.splitlines():
        missing = [path for path in re.findall(DELIVERED, line) if not Path(path).exists()]
        for path in missing:
            line = line.replace(f" crt {path}", "")
        if not missing or " crt " in line:
            lines.append(line)
    return "\n".join(lines) + "\n"
