"""A managed load balancer as a configuration of HAProxy."""

from __future__ import annotations

from collections.abc import Mapping

from sandbox.api.edge import Balancing, Rule

SOCKET = "admin.sock"
# Its worker never needs root: the master has opened the ports.
GLOBAL = f"""global
    stats socket unix@{SOCKET} mode 600 level admin expose-fd listeners
    user nobody
    group nogroup

defaults
    timeout connect 2s
    timeout http-request 10s
    retries 3
    option redispatch 1
"""


def render(
    balancing: Balancing, public_address: str, private_address: str, servers: Mapping[int, str]
) -> str:
    """Render ``haproxy.cfg``.

    :param public_address: the address that clients connect to.
    :param private_address: the source address of its connections to droplets.
    :param servers: private addresses of droplets that are known to be healthy; the others are added later,
        because HAProxy takes every server of its configuration for healthy at first.
    """
    idle = f"{balancing.idle_timeout}s"
    timeouts = f"    timeout client {idle}\n    timeout server {idle}\n    timeout tunnel 1h\n"
    sections = [GLOBAL + timeouts]
    for rule in balancing.rules:
        sections.append(_frontend(rule, public_address))
        sections.append(_backend(rule, balancing, private_address, servers))
    return "\n".join(sections)


def backend_name(rule: Rule) -> str:
    """Return the name of a rule's backend."""
    return f"droplets-{rule.entry_port}"


def server_name(droplet: int) -> str:
    """Return the name of a droplet's server in every backend."""
    return f"droplet-{droplet}"


def server_words(address: str, rule: Rule, balancing: Balancing) -> str:
    """Return the options of a server line, after the name."""
    check = balancing.check
    words = [
        f"{address}:{rule.target_port} check port {check.port}",
        f"inter {check.interval}s fall {check.fall} rise {check.rise}",
        "on-marked-down shutdown-sessions",
    ]
    if check.protocol == "https":
        words.append("check-ssl verify none")
    if balancing.proxy_protocol:
        words.append("send-proxy check-send-proxy")
    return " ".join(words)


def _frontend(rule: Rule, address: str) -> str:
    lines = [
        f"frontend entry-{rule.entry_port}",
        f"    bind {address}:{rule.entry_port}",
        f"    mode {rule.mode}",
        f"    default_backend {backend_name(rule)}",
    ]
    if rule.mode == "http":
        lines += [
            "    option idle-close-on-response",
            "    option forwardfor",
            "    http-request set-header X-Forwarded-Proto http",
            f"    http-request set-header X-Forwarded-Port {rule.entry_port}",
        ]
    return "\n".join(lines) + "\n"


def _backend(rule: Rule, balancing: Balancing, source: str, servers: Mapping[int, str]) -> str:
    check = balancing.check
    lines = [
        f"backend {backend_name(rule)}",
        f"    mode {rule.mode}",
        f"    source {source}",
        "    balance roundrobin",
        f"    timeout check {check.timeout}s",
    ]
    if rule.mode == "http":
        # On a shared connection, another client's request would seem to come from the first client.
        lines.append("    option http-server-close")
    if check.protocol != "tcp":
        lines += [f"    option httpchk GET {check.path}", "    http-check expect status 200-399"]
    lines += [
        f"    server {server_name(droplet)} {server_words(address, rule, balancing)}"
        for droplet, address in servers.items()
    ]
    return "\n".join(lines) + "\n"
