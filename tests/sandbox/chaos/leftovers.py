"""What a run must not leave behind on any machine."""

from __future__ import annotations

import json

from sandbox import Machine
from tests.sandbox.stack import Stack

# Each command prints what is left; nothing is good.
EVERYWHERE = {
    "units": "systemctl list-units --all --plain --no-legend 'bluegreen-revert*' 'bluegreen-my_perl_app-*'",
    "temporary files": (
        "find /etc/haproxy /etc/systemd/system /usr/local/lib /var/lib/bluegreen /run /tmp /opt -xdev"
        " \\( -name '.*.new' -o -name '*.candidate' -o -name 'lb_agent.py.*' -o -name '*.service.??????'"
        " -o -name '*.partial.*' -o -name 'tmp.*' \\) 2>/dev/null"
    ),
    "processes": "pgrep --list-full --full '[l]b_agent|[p]ython3 - '",
    # A master and a worker.
    "old HAProxy workers": "test $(pgrep --count --exact haproxy) -le 2 || pgrep --exact haproxy",
}


def leftovers(stack: Stack) -> list[str]:
    """Return what is there and should not be, a line each."""
    found = []
    for machine in stack.sandbox.machines():
        for what, command in EVERYWHERE.items():
            lines = machine.run(command, check=False).stdout.strip().splitlines()
            found += [f"{machine.name}: {what}: {line}" for line in lines]
    return found + state_left(stack.load_balancer())


def state_left(load_balancer: Machine) -> list[str]:
    """Return what the agent still remembers, and should not."""
    shown = load_balancer.run(["python3", "/usr/local/lib/bluegreen/lb_agent.py", "status"]).stdout
    status = json.loads(shown)
    found = [f"{load_balancer.name}: {key}: {status[key]}" for key in ("lock", "pending") if status[key]]
    if not status["consistent"]:
        found.append(f"{load_balancer.name}: the map's file and HAProxy's differ")
    return found
