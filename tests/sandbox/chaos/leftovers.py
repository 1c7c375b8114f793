"""What a run must not leave behind on any machine."""

from __future__ import annotations

import json
from typing import Any

from bluegreen.agent_bundle import agent_bundle
from sandbox import Machine
from tests.sandbox.stack import SYSTEM_NAME, Stack

# Each command prints what is left; nothing is good.
EVERYWHERE = {
    "units": "systemctl list-units --all --plain --no-legend 'bluegreen-revert*' 'bluegreen-app-*' 'caged-*'",
    "temporary files": (
        "find /etc/haproxy /etc/systemd/system /usr/local/lib /var/lib/bluegreen /run /tmp /opt -xdev"
        " \\( -name '.*.new' -o -name '*.candidate' -o -name '*.service.??????'"
        " -o -name '*.partial.*' -o -name 'tmp.*' \\) 2>/dev/null"
    ),
    "processes": "pgrep --list-full --full '[/]agent-.*pyz|[p]ython3 -(I| )'",
    # A master and a worker.
    "old HAProxy workers": "test $(pgrep --count --exact haproxy) -le 2 || pgrep --exact haproxy",
}

# By its final name; what is being built has another, until the next deploy removes what became of it.
HALF_RELEASES = f"""
for release in $(find /opt/{SYSTEM_NAME}/releases -mindepth 1 -maxdepth 1 -not -name '*.partial.*'); do
    name=$(basename "$release") digest=$(sha256sum <"$release/.bluegreen/manifest")
    [ "$(cat "$release/REVISION")-$(echo "$digest" | cut -c1-16)" = "$name" ] || echo "$release"
done
"""
# Not the contents of releases, and not what another good release brings along. Which processes start with a
# droplet changes with the traffic. What a dead run has sent is removed an hour later. What tells whose a
# droplet is goes with a restart, and comes with the next deploy.
FILES = f"""
find /etc/haproxy /etc/systemd/system /etc/default /usr/local /var/lib/bluegreen /var/lib/{SYSTEM_NAME} \\
    /run/bluegreen /tmp /root /opt \\
    \\( -path '/opt/*/releases/*' -o -path '/opt/*/cache/*' -o -path '/opt/*/activated/*' \\
    -o -path '/opt/*/incoming/*' -o -path '/opt/*/reserve' -o -path '*/configurations/*' \\
    -o -path '/tmp/systemd-private-*' \\
    -o -path '*.wants/{SYSTEM_NAME}-*' -o -path '*/bluegreen/{SYSTEM_NAME}.*' \\) -prune -o -print 2>/dev/null
"""


def leftovers(stack: Stack) -> list[str]:
    """Return what is there and should not be, a line each."""
    found = []
    for machine in stack.sandbox.machines():
        for what, command in EVERYWHERE.items():
            lines = machine.run(command, check=False).stdout.strip().splitlines()
            found += [f"{machine.name}: {what}: {line}" for line in lines]
    found += half_releases(stack)
    return found + [line for proxy in stack.proxies() for line in state_left(proxy)]


def half_releases(stack: Stack) -> list[str]:
    """Return what looks like a release and is not all of one; that must not be there at any time."""
    return [
        f"{machine.name}: half a release: {line}"
        for machine in stack.sandbox.machines()
        if any(tag in machine.tags for tag in ("env:blue", "env:green"))
        for line in machine.run(HALF_RELEASES, check=False).stdout.splitlines()
    ]


def files(stack: Stack) -> set[str]:
    """Return what is in the directories in which a run writes."""
    return {
        f"{machine.name}: new file: {line}"
        for machine in stack.sandbox.machines()
        for line in machine.run(FILES, check=False).stdout.splitlines()
    }


def state_left(proxy: Machine) -> list[str]:
    """Return what the agent still remembers, and should not."""
    status = status_of(proxy)
    found = [f"{proxy.name}: {key}: {status[key]}" for key in ("lock", "pending") if status[key]]
    if not status["consistent"]:
        found.append(f"{proxy.name}: the map's file and HAProxy's differ")
    return found


def status_of(proxy: Machine) -> dict[str, Any]:
    """Return everything that the agent says."""
    shown = proxy.run(["python3", agent_bundle().path, "status"]).stdout
    status: dict[str, Any] = json.loads(shown)
    return status
