"""The load-balancer agent, called over SSH."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from bluegreen.errors import LoadBalancerError
from bluegreen.hooks.droplet import DropletHook
from bluegreen.templates import TEMPLATES_DIRECTORY
from bluegreen.traffic import LoadBalancerStatus, Probe

if TYPE_CHECKING:
    from bluegreen.app import App
    from bluegreen.fleet import Droplet

AGENT_SOURCE = TEMPLATES_DIRECTORY / "lb_agent.py"
AGENT_PATH = "/usr/local/lib/bluegreen/lb_agent.py"
BOOT_UNIT_SOURCE = TEMPLATES_DIRECTORY / "bluegreen-boot.service"
# The link by which it is enabled: who can read the unit here knows both.
BOOT_UNIT_ENABLED = "/etc/systemd/system/multi-user.target.wants/bluegreen-boot.service"

# Written beside their destinations and renamed, so that a timer never runs half an agent.
_INSTALL = f"""set -euo pipefail
umask 022
install_file() {{
    mkdir -p "$(dirname "$1")"
    temporary=$(mktemp "$1.XXXXXX")
    trap 'rm -f "$temporary"' EXIT
    base64 -d >"$temporary"
    chmod "$2" "$temporary"
    mv -f "$temporary" "$1"
}}
install_file {AGENT_PATH} 0755 <<'END'
%s
END
install_file /etc/systemd/system/bluegreen-boot.service 0644 <<'END'
%s
END
systemctl --quiet enable bluegreen-boot.service
"""


class LoadBalancerHook(BaseHook):
    """One load balancer.

    :param droplet_hook: the SSH side of it.
    """

    def __init__(self, droplet_hook: DropletHook) -> None:
        super().__init__()
        self.droplet_hook = droplet_hook

    @classmethod
    def of(cls, droplet: Droplet, app: App) -> LoadBalancerHook:
        """Make the hook with an app's connection and timeouts."""
        return cls(DropletHook.of(droplet, app))

    def close(self) -> None:
        """Close the connection if it is open."""
        self.droplet_hook.close()

    @property
    def name(self) -> str:
        """Name of the load balancer's droplet."""
        return self.droplet_hook.droplet.name

    @property
    def peer_address(self) -> str:
        """Where the app's other load balancers reach this one, as clients do.

        Not by its private address: behind a managed load balancer, HAProxy wants the PROXY protocol there.
        """
        droplet = self.droplet_hook.droplet
        return str(droplet.public or droplet.private)

    def status(self) -> LoadBalancerStatus:
        """Read everything and change nothing: the agent is sent along instead of being installed."""
        return LoadBalancerStatus.parse(self._read("status"))

    def probe(self, **request: Any) -> Probe:
        """Make one HTTP request from the load balancer and return its result; read only."""
        return Probe.parse(self._read("probe", **request))

    def ledger(self, last: int) -> list[dict[str, Any]]:
        """Return the last records of the ledger, oldest first; read only."""
        records: list[dict[str, Any]] = self._read("ledger", last=last)["records"]
        return records

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call a verb of the installed agent.

        :param verb: for example ``switch``.
        :param request: its arguments; sent on standard input because they may hold secrets.
        :raises LoadBalancerError: with the agent's own words when it refuses.
        """
        return self._answer(verb, ["python3", AGENT_PATH, verb, "-"], json.dumps(request))

    def install_agent(self) -> None:
        """Put this project's version of the agent, and what runs it at boot, on the load balancer."""
        sources = [AGENT_SOURCE.read_bytes(), BOOT_UNIT_SOURCE.read_bytes()]
        installed = self.droplet_hook.run(["sha256sum", AGENT_PATH, BOOT_UNIT_ENABLED]).stdout.splitlines()
        if [line.split(" ")[0] for line in installed] == [hashlib.sha256(one).hexdigest() for one in sources]:
            return
        encoded = tuple(base64.encodebytes(source).decode().strip() for source in sources)
        result = self.droplet_hook.run_script(_INSTALL % encoded)
        if result.status != 0:
            raise LoadBalancerError(f"{self.name}: cannot install the agent: {result.stderr.strip()[-300:]}")

    def _read(self, verb: str, **request: Any) -> dict[str, Any]:
        source = AGENT_SOURCE.read_text(encoding="utf-8")
        return self._answer(verb, ["python3", "-", verb, json.dumps(request)], source)

    def _answer(self, verb: str, command: list[str], stdin: str) -> dict[str, Any]:
        result = self.droplet_hook.run(command, stdin)
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            reason = (result.stderr.strip() or result.stdout.strip() or "no output")[-300:]
            raise LoadBalancerError(f"{self.name}: the agent's {verb!r} broke: {reason}") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            code = answer.get("error", "") if isinstance(answer, dict) else ""
            message = answer.get("message", result.stdout) if isinstance(answer, dict) else result.stdout
            raise LoadBalancerError(f"{self.name}: {message}", code=code)
        return answer
