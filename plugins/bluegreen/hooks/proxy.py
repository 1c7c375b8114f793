"""The proxy agent, called over SSH."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.droplet import DropletHook
from bluegreen.scripts import render_script
from bluegreen.templates import TEMPLATES_DIRECTORY
from bluegreen.traffic.agent_answers import Probe, ProxyStatus

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.settings.app import App

AGENT_SOURCE = TEMPLATES_DIRECTORY / "lb_agent.py"
AGENT_PATH = "/usr/local/lib/bluegreen/lb_agent.py"
# Seconds within which the agent answers, whatever happens there (its ``DEADLINES``), and a little more.
ANSWER_WITHIN = {
    "status": 35,
    "ledger": 20,
    "lock": 75,
    "renew": 45,
    "unlock": 75,
    "sync": 195,
    "switch": 75,
    "confirm": 60,
    "align": 75,
    "revert": 60,
    "record": 45,
}
PROBE_MARGIN = 15
BOOT_UNIT_SOURCE = TEMPLATES_DIRECTORY / "bluegreen-boot.service"
BOOT_UNIT_PATH = "/etc/systemd/system/bluegreen-boot.service"
# The link by which it is enabled: who can read the unit here knows both.
BOOT_UNIT_ENABLED = "/etc/systemd/system/multi-user.target.wants/bluegreen-boot.service"


class ProxyHook(BaseHook):
    """One proxy.

    :param droplet_hook: the SSH side of it.
    """

    def __init__(self, droplet_hook: DropletHook) -> None:
        super().__init__()
        self.droplet_hook = droplet_hook
        self._is_outdated = False

    @classmethod
    def of(cls, droplet: Droplet, app: App) -> ProxyHook:
        """Make the hook with an app's connection and timeouts."""
        return cls(DropletHook.of(droplet, app))

    def close(self) -> None:
        """Close the connection if it is open."""
        self.droplet_hook.close()

    @property
    def name(self) -> str:
        """Name of the proxy's droplet."""
        return self.droplet_hook.droplet.name

    @property
    def peer_address(self) -> str:
        """Where the app's other proxies reach this one, as clients do.

        Not by its private address: behind a managed load balancer, HAProxy wants the PROXY protocol there.
        """
        droplet = self.droplet_hook.droplet
        return str(droplet.public or droplet.private)

    def status(self) -> ProxyStatus:
        """Read everything and change nothing: the agent is sent along instead of being installed."""
        return ProxyStatus.parse(self._read("status"))

    def probe(self, **request: Any) -> Probe:
        """Make one HTTP request from the proxy and return its result; read only."""
        return Probe.parse(self._read("probe", **request))

    def ledger(self, last: int) -> list[dict[str, Any]]:
        """Return the last records of the ledger, oldest first; read only."""
        records: list[dict[str, Any]] = self._read("ledger", last=last)["records"]
        return records

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """Call a verb of the installed agent.

        :param verb: for example ``switch``.
        :param request: its arguments; sent on standard input because they may hold secrets.
        :raises ProxyError: with the agent's own words when it refuses.
        """
        answer = self._ask_installed(verb, **request)
        if verb == "lock" and self._is_outdated:
            self._replace_agent(answer["token"])
        return answer

    def install_agent(self) -> None:
        """Put this project's version of the agent, and what runs it at boot, on the proxy.

        While a run holds the lock or a switch is pending, the installed one stays: that run and its timer
        began with it. It is replaced as soon as the lock is ours.

        :raises ProxyError: if it cannot be installed; then the one that was there still is.
        """
        sources = [AGENT_SOURCE.read_bytes(), BOOT_UNIT_SOURCE.read_bytes()]
        installed = self.droplet_hook.run(["sha256sum", AGENT_PATH, BOOT_UNIT_ENABLED]).stdout.splitlines()
        self._is_outdated = [line.split(" ")[0] for line in installed] != [_sha256(one) for one in sources]
        if not self._is_outdated:
            return
        if self._is_in_use():
            self.log.info("%s: another version of the agent is in use, and stays until it is not", self.name)
            return
        self._install()

    def _is_in_use(self) -> bool:
        """Whether a run relies on the installed agent; one that cannot say so is of no use to anybody."""
        try:
            status = self._ask_installed("status")
        except ProxyError:
            return False
        lock = status.get("lock") or {}
        return bool(status.get("pending")) or lock.get("until", 0) > status.get("now", time.time())

    def _replace_agent(self, token: int) -> None:
        """Install it now that nobody else relies on the old one: the lock is this run's."""
        try:
            self._install()
        except BlueGreenError:
            self._ask_installed("unlock", token=token)
            raise

    def _install(self) -> None:
        result = self.droplet_hook.run_script(install_script())
        if result.status != 0:
            raise ProxyError(f"{self.name}: cannot install the agent: {result.stderr.strip()[-300:]}")
        self._is_outdated = False

    def _ask_installed(self, verb: str, **request: Any) -> dict[str, Any]:
        command = ["python3", AGENT_PATH, verb, "-"]
        return self._answer(verb, command, json.dumps(request), ANSWER_WITHIN[verb])

    def _read(self, verb: str, **request: Any) -> dict[str, Any]:
        source = AGENT_SOURCE.read_text(encoding="utf-8")
        within = request["timeout"] + PROBE_MARGIN if verb == "probe" else ANSWER_WITHIN[verb]
        return self._answer(verb, ["python3", "-", verb, json.dumps(request)], source, within)

    def _answer(self, verb: str, command: list[str], stdin: str, within: float) -> dict[str, Any]:
        result = self.droplet_hook.run(command, stdin, silence=within)
        try:
            answer = json.loads(result.stdout)
        except ValueError:
            reason = (result.stderr.strip() or result.stdout.strip() or "no output")[-300:]
            raise ProxyError(f"{self.name}: the agent's {verb!r} broke: {reason}") from None
        if not isinstance(answer, dict) or not answer.get("ok"):
            code = answer.get("error", "") if isinstance(answer, dict) else ""
            message = answer.get("message", result.stdout) if isinstance(answer, dict) else result.stdout
            raise ProxyError(f"{self.name}: {message}", code=code)
        return answer


def install_script() -> str:
    """Return the script that installs the agent; cut anywhere, it does nothing."""
    agent, boot_unit = AGENT_SOURCE.read_text(encoding="utf-8"), BOOT_UNIT_SOURCE.read_text(encoding="utf-8")
    return render_script(
        "load_balancer/install_agent.sh.j2",
        agent_path=AGENT_PATH,
        agent=agent,
        agent_sha256=_sha256(agent.encode()),
        boot_unit_path=BOOT_UNIT_PATH,
        boot_unit_name=PurePosixPath(BOOT_UNIT_PATH).name,
        boot_unit=boot_unit,
        boot_unit_sha256=_sha256(boot_unit.encode()),
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
