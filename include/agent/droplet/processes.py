"""Running an app's processes and timers, or stopping them: a step of a job, see :mod:`agent.droplet.job`."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Set

from agent.call import Call
from agent.droplet.app_paths import AppPaths
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.journal import last_words
from agent.droplet.process_states import ProcessStates, short_name, short_names
from agent.droplet.process_units import release_in, units_in
from agent.droplet.tree import read_regular
from agent.fields import words
from agent.processes import LONGEST_STOP, STAYS_UP, ProcessRecord, ProcessState
from agent.protocol import AgentError, Code, Json
from agent.system import CallDeadline, since_boot

# Seconds between two looks at what starts or ends.
PAUSE = 0.2
# Seconds beyond the longest stop until systemd must have killed what is left, and for the kernel to end it.
STOP_SPARE, KILL_WAIT = 30.0, 15.0
# Seconds for everything to be started, besides those that it has to stay up.
START_WAIT = 60.0
LARGEST_UNIT = 1 << 18
CLAIMED = "another run has claimed this droplet"


def processes(call: Call, request: Json) -> Json:
    """Run some processes and timers of the release that is activated here, and no others.

    Whatever is not to run is stopped first, gracefully, and does not start with the droplet any more. What is
    started has to stay up for some seconds.

    Request: ``agent.processes.ProcessesRequest``. Answer: ``agent.processes.ProcessesAnswer``. Codes:
    ``claimed``; ``failed`` if a name is not known, if something does not end (then nothing is started), or
    does not stay up (then everything is started, and systemd goes on trying). Killed anywhere, some run and
    some do not, and only what was to run starts with the droplet; the next call finishes.
    """
    these, names = Processes(Job.of(call, request), call.deadline), words(request, "run")
    units = these.units_of(names)
    # Systemd starts nothing that is ending: a restored release may have asked it to.
    ending = {unit for unit, state in these.states.busy().items() if state == "deactivating"} if units else ()
    these.stop([unit for unit in units if unit not in ending])
    if units:
        these.start(units)
    return {"processes": these.states.records()}


class Processes:
    """The processes and timers of a job's app on this droplet."""

    def __init__(self, job: Job, deadline: CallDeadline) -> None:
        self.job, self.deadline = job, deadline
        self.states = ProcessStates(job.app, deadline)
        self.files = self.states.files

    def units_of(self, names: Collection[str]) -> list[str]:
        """Return what is to be started for some processes and timers.

        :raises AgentError: with the code ``failed`` unless the activated release has them.
        """
        known = self.files.known()
        for name in names:
            if name not in known:
                message = f"{name[:40]!r} is no process or timer of the release that is activated here"
                raise AgentError(Code.FAILED, message)
        # A timer's own file names none unless its program does.
        texts = self.files.texts()
        releases = {
            release_in(texts.get(known[name].file.replace(".timer", ".service"), "")) for name in names
        }
        service = self.job.app.paths.units / self.job.app.service
        if releases and releases != {
            release_in(read_regular(service, LARGEST_UNIT).decode(errors="replace"))
        }:
            message = "the units of processes and the web server's are of two releases; deploy it again"
            raise AgentError(Code.FAILED, message)
        return [unit for name in names for unit in known[name].units]

    def stop(
        self,
        kept: Collection[str] = (),
        consequence: str = "no process was stopped",
        patience: float | None = None,
    ) -> None:
        """Stop every process and timer but some, and make sure that nothing of them is left.

        First they are disabled: whatever happens to this droplet then, they do not start again.

        :param consequence: what it means for people that another run has claimed the droplet.
        :param patience: seconds after which what is left is killed; by default, as long as any unit may take.
        :raises AgentError: with the code ``claimed``; with ``failed`` if one does not end.
        """
        spared = {*kept, *(unit.replace(".timer", ".service") for unit in kept)}
        refusal = f"{CLAIMED}; {consequence}"
        with self.job.claimed(self.deadline, refusal):
            self.files.disable(kept)
            if not ({*self.states.loaded()} | self.states.populated()) - spared:
                return
            self._stop(unit for unit in self.states.busy() if unit.endswith(".timer") and unit not in spared)
        self._stop_all(spared, refusal, patience)
        failed = {unit for unit, state in self.states.loaded().items() if state == "failed"} - spared
        if failed:
            self.deadline.run("systemctl", "reset-failed", "--", *sorted(failed))
        # Without it systemd keeps a timer in memory, because its target has wanted it. When it is started
        # again, it would count from its last run, and fire at once.
        self.deadline.run("systemctl", "daemon-reload")

    def ask_to_end(self, consequence: str) -> None:
        """Disable every process and timer, and let systemd stop them, without waiting until they have ended.

        They have the time that their units give them; the next step ``processes`` waits for them.

        :param consequence: what it means for people that another run has claimed the droplet.
        :raises AgentError: with the code ``claimed``.
        """
        with self.job.claimed(self.deadline, f"{CLAIMED}; {consequence}"):
            self.files.disable(())
            try:
                if not (busy := self.states.busy()):
                    return
                # A timer ends at once. Until it has, it may start its command again.
                self._stop([unit for unit in busy if unit.endswith(".timer")], waits=True)
                self._stop(unit for unit, state in self.states.busy().items() if state != "deactivating")
            except AgentError as error:
                say(f"{error}; this is left to the next step that moves processes")
            # Systemd forgets the timers, see `stop`.
            self.deadline.run("systemctl", "daemon-reload")

    def start(self, units: Collection[str]) -> None:
        """Start what is not up, enable it, and wait until all of it has stayed up for some seconds.

        :raises AgentError: with the code ``claimed``; with ``failed`` and the last words of what does not.
        """
        with self.job.claimed(self.deadline, f"{CLAIMED}; no process was started"):
            self.files.enable(units)
            if any(map(_is_down, self._records(units))):
                say(f"starting {short_names(self.job.app.name, units)}")
                # A unit file may have been replaced since systemd has read it.
                status, output = self.deadline.run("systemctl", "daemon-reload")
                if status != 0:
                    raise AgentError(Code.FAILED, f"systemd does not read its units: {output[-300:]}")
                if output := self.deadline.run("systemctl", "start", "--", *units)[1]:
                    say(output)
        self._demand_up(units)

    def _stop(self, units: Iterable[str], *, waits: bool = False) -> None:
        """Let systemd stop units; it asks their main processes, and kills what is left after their time.

        :param waits: whether to wait until they have ended; only timers do at once.
        """
        wanted = sorted(units)
        if not wanted:
            return
        say(f"stopping {short_names(self.job.app.name, wanted)}")
        options = () if waits else ("--no-block",)
        status, output = self.deadline.run("systemctl", "stop", *options, "--", *wanted)
        if status != 0:
            names = short_names(self.job.app.name, wanted)
            raise AgentError(Code.FAILED, f"systemd does not stop {names}: {output[-300:]}")

    def _stop_all(self, spared: Set[str], refusal: str, patience: float | None) -> None:
        """Stop units until nothing but some has a process, by the word of systemd and of the kernel.

        Each look stops what has been started since the last one: a timer that was about to end, or a hand,
        may have done that.

        :raises AgentError: with the code ``failed`` if systemd has given up on a process, or does not end.
        """
        patience = LONGEST_STOP + STOP_SPARE if patience is None else patience
        began = stopping_last = since_boot()
        killed = False
        while True:
            going = {unit: state for unit, state in self.states.busy().items() if unit not in spared}
            with self.job.claimed(self.deadline, refusal):
                self._stop(unit for unit, state in going.items() if state != "deactivating")
            left = going.keys() | (self.states.populated() - spared)
            if not left:
                return
            now = since_boot()
            if not killed and now - began > patience:
                self._kill(left)
                killed, stopping_last = True, now
            stopping_last = now if going and not killed else stopping_last
            if now - stopping_last > KILL_WAIT:
                names = short_names(self.job.app.name, left)
                unit = min(left)
                raise AgentError(
                    Code.FAILED,
                    f"{names} cannot be stopped, not even by SIGKILL; see `systemctl status {unit}` and "
                    "restart the droplet",
                )
            self.deadline.sleep(PAUSE)

    def _kill(self, units: Collection[str]) -> None:
        """Kill what is left of units; how that went is seen by the next look."""
        say(f"killing {short_names(self.job.app.name, units)}, which should have ended")
        if output := self.deadline.run("systemctl", "kill", "--signal=KILL", "--", *sorted(units))[1]:
            say(output)

    def _demand_up(self, units: Collection[str]) -> None:
        """Wait until each of some units has been up for long enough.

        :raises AgentError: with the code ``failed``, and the last words of one that is not.
        """
        ends = since_boot() + STAYS_UP + START_WAIT
        while True:
            late = [record for record in self._records(units) if not record["up"]]
            if not late:
                return
            down = [record for record in late if _is_down(record)]
            if down or since_boot() > ends:
                raise AgentError(Code.FAILED, self._why(down or late))
            self.deadline.sleep(PAUSE)

    def _records(self, units: Collection[str]) -> list[ProcessRecord]:
        return [record for record in self.states.records() if record["unit"] in units]

    def _why(self, records: list[ProcessRecord]) -> str:
        """Return how a process does not stay up, and its last words."""
        first, *others = records
        name = short_name(self.job.app.name, first["unit"])
        more = f" (nor do {len(others)} others)" if others else ""
        how = f"it is {first['state']}, the last result is {first['result']} {first['exit_status']}"
        said = last_words(f"_SYSTEMD_UNIT={first['unit']}")
        return f"{name} does not stay up{more}: {said or how}"


def require_usable(app: AppPaths, units: Collection[tuple[str, str]], deadline: CallDeadline) -> None:
    """Refuse a process without a program, and a timer whose moments systemd does not know.

    :param units: pairs of file name and text.
    :raises AgentError: with the code ``failed``.
    """
    for one in units_in(app.name, dict(units)).values():
        what = f"the {one.kind} {one.name}"
        if one.program:
            path, shown = app.paths.root / one.program[1:], one.program
            if release := release_in(f"{one.program}/"):
                shown = one.program.partition(f"{release}/")[2]
            if not path.is_file():
                raise AgentError(Code.FAILED, f"{what}: there is no program {shown}")
            if not os.access(path, os.X_OK):
                advice = f"git update-index --chmod=+x {shown}"
                raise AgentError(Code.FAILED, f"{what}: {shown} is not executable; see {advice}")
        if one.calendar:
            status, output = deadline.run("systemd-analyze", "calendar", one.calendar)
            if status != 0 or "Next elapse: never" in output:
                last = (output.splitlines() or ["no reason given"])[-1].strip()
                raise AgentError(Code.FAILED, f"{what}: systemd does not take {one.calendar!r}: {last}")


def _is_down(record: ProcessRecord) -> bool:
    """Whether it has to be started. A process that has just been may need nothing but time."""
    just_started = record["state"] in (ProcessState.STARTING.value, ProcessState.RUNNING.value)
    return not record["up"] and (record["unit"].endswith(".timer") or not just_started)
