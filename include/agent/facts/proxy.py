"""What a deploy finds on a proxy, besides the answer of the verb ``status``."""

from __future__ import annotations

import shutil
from pathlib import Path

from agent.facts.bounded import LONGEST_LINE, run
from agent.facts.certificates import certificates
from agent.facts.machine import machine
from agent.facts.probes import pages, probes
from agent.protocol import Json
from agent.system import CallDeadline

MAP = "/etc/haproxy/traffic.map"


def proxy(deadline: CallDeadline, request: Json) -> Json:
    """Return what a deploy finds on a proxy.

    :param request: of :func:`machine`, :func:`probes` and :func:`pages`, and ``certificate`` (the path of a
        PEM file or of a directory, or None) and ``config`` (what a deploy would install, or None).
    """
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


def config_error(deadline: CallDeadline, config: str) -> str:
    """Return why HAProxy refuses a configuration; empty if it does not.

    HAProxy reads the configuration, which holds a secret, from its standard input.
    """
    if shutil.which("haproxy") is None:
        return "haproxy is not installed"
    if not Path(MAP).exists():
        # The first deploy writes it.
        config = config.replace(MAP, "/dev/null")
    status, output = run(deadline, "haproxy", "-c", "-f", "/dev/stdin", text=config)
    if status == 0:
        return ""
    alerts = [line for line in output.splitlines() if "ALERT" in line] or output.splitlines()
    return alerts[0][:LONGEST_LINE] if alerts else "no reason given"
