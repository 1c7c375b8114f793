"""Where an app's processes and timers stand, as systemd and the kernel say."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Collection, Mapping, Sequence

from agent.droplet.app_paths import AppPaths
from agent.droplet.process_units import ProcessUnit, UnitFiles, release_in
from agent.processes import MOST_RECORDS, NAME, STAYS_UP, Kind, ProcessRecord, ProcessState
from agent.protocol import AgentError, Code
from agent.system import CallDeadline

# Seconds for systemd to answer; it does not while it is replaced by an update.
SYSTEMD_WAIT = 10.0
# Units that systemd is asked for at once: of a longer answer only the end would be kept.
AT_ONCE = 40
PROPERTIES = (
    "Id,ActiveState,SubState,Result,ExecMainStatus,NRestarts,StateChangeTimestampMonotonic,WorkingDirectory"
)
# What has ended, in systemd's words.
ENDED = ("inactive", "failed")


class ProcessStates:
    """The processes and timers of an app on this droplet."""

    def __init__(self, app: AppPaths, deadline: CallDeadline) -> None:
        self.app, self.deadline = app, deadline
        self.files = UnitFiles(app)

    def loaded(self) -> dict[str, str]:
        """Return the ``ActiveState`` of each unit that systemd has in memory, also of one without a file.

        :raises AgentError: with the code ``failed`` if systemd does not answer.
        """
        patterns = (f"{self.app.name}-*.service", f"{self.app.name}-*.timer")
        options = ("--all", "--full", "--plain", "--no-legend", "--no-pager")
        rows = (line.split() for line in self._asked("list-units", *options, *patterns).splitlines())
        return {row[0]: row[2] for row in rows if len(row) > 2 and row[0].startswith(f"{self.app.name}-")}

    def busy(self) -> dict[str, str]:
        """Return the ``ActiveState`` of the units that have not ended, or are about to be started again.

        :raises AgentError: with the code ``failed`` if systemd does not answer.
        """
        return {unit: state for unit, state in self.loaded().items() if state not in ENDED}

    def populated(self) -> set[str]:
        """Return the units that have processes by the kernel's own account, whatever systemd says."""
        unit = re.compile(rf"(?m)/({re.escape(self.app.name)}-{NAME}(?:@\d+)?\.service)(?:/|$)")
        found: set[str] = set()
        for path in (self.app.paths.root / "proc").glob("[0-9]*/cgroup"):
            # It may have ended by now.
            with contextlib.suppress(OSError):
                found.update(unit.findall(path.read_text(errors="replace")))
        return found

    def properties(self, units: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return the properties of units in systemd's words.

        :raises AgentError: with the code ``failed`` if systemd does not answer.
        """
        found: dict[str, dict[str, str]] = {}
        for first in range(0, len(units), AT_ONCE):
            few = units[first : first + AT_ONCE]
            for part in self._asked("show", f"--property={PROPERTIES}", *few).split("\n\n"):
                known = dict(line.partition("=")[::2] for line in part.splitlines())
                found[known.get("Id", "")] = known
        return found

    def records(self) -> list[ProcessRecord]:
        """Describe each process and timer: those of the release that is activated, and what else is left.

        :raises AgentError: with the code ``failed`` if systemd does not answer.
        """
        known, enabled = self.files.known(), self.files.enabled()
        if not (known or enabled or self.populated()):
            # Most apps have none, and their droplets do not ask.
            return []
        own = {unit: one for one in known.values() for unit in one.units}
        others = sorted({*self.loaded(), *enabled} - {*own, *(_service_of(unit) for unit in own)})
        # A timer's service is part of the timer, unless only the service is left.
        others = [
            unit for unit in others if unit.replace(".service", ".timer") not in others or ".timer" in unit
        ]
        units = [*own, *others][:MOST_RECORDS]
        shown = self.properties(sorted({*units, *map(_service_of, units)})) if units else {}
        return [self._record(unit, own.get(unit), shown, unit in enabled) for unit in units]

    def _record(
        self, unit: str, known: ProcessUnit | None, shown: Mapping[str, Mapping[str, str]], enabled: bool
    ) -> ProcessRecord:
        itself, service = shown.get(unit, {}), shown.get(_service_of(unit), {})
        is_timer = "@" not in unit
        state = _timer_state(itself, service) if unit.endswith(".timer") else state_of(service)
        changed = itself if state in (ProcessState.WAITING, ProcessState.STOPPED) else service
        since = _moment(changed.get("StateChangeTimestampMonotonic"))
        is_old = since is not None and time.time() - since >= STAYS_UP
        return {
            "name": known.name if known else short_name(self.app.name, unit).partition("@")[0],
            "unit": unit,
            "kind": (Kind.TIMER if is_timer else Kind.PROCESS).value,
            "droplets": known.droplets.value if known else None,
            "overlap": bool(known and known.overlap),
            "state": state.value,
            "enabled": enabled,
            "up": state_of(itself) is ProcessState.RUNNING and (unit.endswith(".timer") or is_old),
            "release": release_in(f"{service.get('WorkingDirectory', '')}/"),
            "result": service.get("Result", ""),
            "exit_status": _number(service.get("ExecMainStatus")),
            "restarts": _number(service.get("NRestarts")),
            "since": since,
        }

    def _asked(self, *command: str) -> str:
        output = ""

        def ask() -> str | None:
            nonlocal output
            status, output = self.deadline.run("systemctl", *command)
            return output if status == 0 else None

        answer = self.deadline.wait_for(SYSTEMD_WAIT, ask, pause=0.2)
        if answer is None:
            message = f"systemd does not say what runs of {self.app.name}: {output[-300:]}"
            raise AgentError(Code.FAILED, message)
        return answer


def state_of(shown: Mapping[str, str]) -> ProcessState:
    """Return where a service stands, by its unit's properties."""
    active, sub = shown.get("ActiveState", ""), shown.get("SubState", "")
    if active == "activating" and sub.startswith("auto-restart"):
        return ProcessState.RESTARTING
    return {
        "active": ProcessState.RUNNING,
        "reloading": ProcessState.RUNNING,
        "activating": ProcessState.STARTING,
        "deactivating": ProcessState.STOPPING,
        "failed": ProcessState.FAILED,
    }.get(active, ProcessState.STOPPED)


def short_name(app: str, unit: str) -> str:
    """Return what a unit is called in messages, such as ``worker@1``."""
    return re.sub(r"\.(service|timer)$", "", unit).removeprefix(f"{app}-")


def short_names(app: str, units: Collection[str]) -> str:
    """Return what units are called in messages."""
    return ", ".join(sorted({short_name(app, unit) for unit in units}))


def _timer_state(timer: Mapping[str, str], service: Mapping[str, str]) -> ProcessState:
    command = state_of(service)
    if command in (ProcessState.STARTING, ProcessState.RUNNING):
        # A command that runs to its end is `activating` all the time.
        return ProcessState.RUNNING
    if command is ProcessState.STOPPING:
        return command
    own = state_of(timer)
    return ProcessState.WAITING if own is ProcessState.RUNNING else own


def _service_of(unit: str) -> str:
    return re.sub(r"\.timer$", ".service", unit)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _moment(microseconds: str | None) -> float | None:
    """Return a moment of the monotonic clock by the droplet's own."""
    since = _number(microseconds)
    return round(time.time() - time.monotonic() + since / 1_000_000, 3) if since else None
