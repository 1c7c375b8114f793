"""Letting the live color, and no other one, run the app's processes and timers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from bluegreen.checks.gather.ask_machine import ask_processes
from bluegreen.errors import BlueGreenError, FleetError
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.remote_job import RemoteJob
from bluegreen.hooks.two_phase import combined
from bluegreen.operators.support import metrics
from bluegreen.operators.support.asking_fleet import AsksFleet
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.job_end import remove_traces, require_success
from bluegreen.operators.support.job_log import JobLog
from bluegreen.operators.support.this_run import PROCESSES_KEY
from bluegreen.release.processes import SECONDS, processes_program, processes_unit
from bluegreen.run.processes import Placement, ProcessesMove, color_to_run, listed
from bluegreen.settings.app import App
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.reached import not_reached

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun

# What its jobs are called in messages.
KIND = "processes"
# The names that droplets are to run.
Shares = Mapping["Droplet", frozenset[str]]


class MoveProcessesOperator(AsksFleet, LockedOperator):
    """Let the color whose switch is confirmed run the app's processes and timers, and the other one none.

    They are stopped on every droplet of the other color, which proves that, before any is started; but for
    those that may overlap. If one droplet cannot be asked, or does not stop them, nothing moves. If Airflow
    dies in between, nobody has them, and this task of any later run starts them on the live color.

    :param goes_on: whether the run goes on if they cannot be moved; then the report has a warning.
    """

    def __init__(self, *, goes_on: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.goes_on = goes_on

    def act(self, run: ThisRun) -> None:
        """Push the :class:`ProcessesMove` as XCom ``processes``, if anything had to be done.

        :raises BlueGreenError: with what runs where, and what to do, unless the run goes on.
        """
        if not self.lock:
            raise AirflowSkipException("the run has no lock, so it moves nothing")
        if not self.held_lock.proxies:
            # Nothing is deployed, or nobody knows which color is live.
            return
        move = ProcessesMove(trouble=f"{self.task_id} ended without a report, see its log")
        try:
            move = self._settle(run)
        except BlueGreenError as error:
            move = ProcessesMove(trouble=str(error))
            if not self.goes_on:
                raise
            self.log.warning("%s", error)
        else:
            self.log.info("%s", str(move) or "everything runs where it should, and nothing was moved")
        finally:
            run.push(PROCESSES_KEY, move.model_dump(mode="json"))
            metrics.emit(metrics.processes(self.app_id, well=not move.trouble))

    def _settle(self, run: ThisRun) -> ProcessesMove:
        hook = self.proxies()
        hook.renew()
        fleet, strays = self.sort_droplets()
        color = color_to_run(self._statuses(fleet.proxies))
        if color is None:
            return ProcessesMove()
        known = self._ask((*fleet.blue, *fleet.green)) | self._ask_strays(strays)
        before = Placement(fleet, color, known, tuple(one for one in strays if one in known))
        jobs = _Jobs(self.app, run.run_id, self.held_lock.fencing_token, hook, self.log)
        return _Move(before, jobs, self.app_id).make()

    def _statuses(self, proxies: Sequence[Droplet]) -> dict[str, ProxyStatus]:
        """Return what the proxies say that a deploy has reached.

        :raises BlueGreenError: if one of them cannot be asked: it may send traffic to the other color.
        """
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            asked = dict(zip(proxies, pool.map(self._status, proxies), strict=True))
        reached = {one: status for one, status in asked.items() if one not in not_reached(asked)}
        if silent := [status for status in reached.values() if isinstance(status, BlueGreenError)]:
            raise combined(silent)
        return {one.name: status for one, status in reached.items() if isinstance(status, ProxyStatus)}

    def _ask(self, droplets: Collection[Droplet]) -> dict[Droplet, Any]:
        """Return what runs on each droplet, or why that is not known."""
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            return dict(zip(droplets, pool.map(self._processes, droplets), strict=True))

    def _ask_strays(self, strays: Mapping[Droplet, str]) -> dict[Droplet, Any]:
        """Return the same of droplets without a role, or with several, but for those that have no processes.

        They may have run the app's before they lost it, and start them again whenever they restart.
        """
        found = {}
        for droplet, known in self._ask(strays).items():
            if isinstance(known, BlueGreenError):
                found[droplet] = _like([known], f"{known} ({strays[droplet]})")
            elif known:
                self.log.warning("%s, so it is to run no processes", strays[droplet])
                found[droplet] = known
        return found

    def _processes(self, droplet: Droplet) -> Any:
        if droplet.is_new:
            return ()
        if droplet.problems:
            return FleetError("; ".join(droplet.problems))
        return ask_processes(self.app, droplet)


class _Move:
    """One move, step by step.

    :param before: what runs where.
    :param jobs: what changes it.
    """

    def __init__(self, before: Placement, jobs: _Jobs, app_id: str) -> None:
        self.before = before
        self.jobs = jobs
        self.app_id = app_id

    def make(self) -> ProcessesMove:
        """Return what was done.

        :raises BlueGreenError: with what runs where, and what to do.
        """
        before, missing = self.before, self.before.all_missing
        surplus = {one: before.settled(one) for one in before.known if before.surplus(one)}
        if missing and (reasons := before.unknown(before.others)):
            raise _like(reasons.values(), before.blocked(reasons, self.app_id))
        if before.stranded:
            raise _like(before.unknown(before.own).values(), before.waiting(self.app_id))
        early: Shares = {}
        if missing:
            # Also where nothing runs: the job keeps a run that died from starting anything there later.
            surplus |= {one: frozenset() for one in before.others}
            early = before.early()
            surplus |= {one: early[one] for one in surplus if one in early}
            self._begin(early)
        self._stop(surplus, early)
        starting = {one: before.wanted(one) for one in before.own if before.missing(one)}
        self._start(starting)
        done = before.moved(starting)
        # A droplet of the other color is to run nothing since the last move has proved that, unless others of
        # it were found to run something.
        left_out = (*before.own, *(before.others if before.on(before.others) else ()))
        if reasons := before.unknown(left_out):
            raise _like(reasons.values(), before.incomplete(done, reasons, self.app_id))
        return done

    def _begin(self, early: Shares) -> None:
        """Start what may run on both colors for a while; if it does not run, nothing has changed.

        :raises BlueGreenError: naming what does not run, with its last words.
        """
        try:
            self._start(early)
        except BlueGreenError:
            self.jobs.run({droplet: self.before.ran(droplet) for droplet in early})
            raise

    def _stop(self, shares: Shares, early: Collection[Droplet]) -> None:
        """Let droplets run less; if one does not, each runs what it ran before.

        :param early: droplets of the live color where something was started already.
        :raises BlueGreenError: naming the droplets that are in the way.
        """
        failed = self.jobs.run(shares)
        if not failed:
            return
        back = self.jobs.run({one: self.before.ran(one) for one in {*shares, *early}})
        said = self.before.blocked(failed, self.app_id)
        if others := [str(error) for one, error in back.items() if one not in failed]:
            said += f"; and not everything runs again: {'; '.join(others)}"
        raise _like(failed.values(), said)

    def _start(self, shares: Shares) -> None:
        """Let droplets of the live color run more.

        :raises BlueGreenError: naming what does not run, with its last words.
        """
        if failed := self.jobs.run(shares):
            names = frozenset().union(*(shares[one] for one in failed))
            raise _like(failed.values(), self.before.unwell(names, failed, self.app_id))


class _Jobs:
    """The jobs on droplets that stop and start processes, many at once."""

    def __init__(self, app: App, run_id: str, token: int, proxies: ProxiesHook, log: Any) -> None:
        self.app = app
        self.run_id = run_id
        self.token = token
        self.proxies = proxies
        self.log = log
        self._renewing = Lock()

    def run(self, shares: Shares) -> dict[Droplet, BlueGreenError]:
        """Let each droplet run its share, all at once; return the errors.

        :raises ProxyError: with the code ``lock_lost`` if the lock is another run's by now; then nothing was
            begun.
        """
        if not shares:
            return {}
        self.proxies.renew()
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            ended = zip(shares, pool.map(self._attempt, shares, shares.values()), strict=True)
        return {droplet: error for droplet, error in ended if error is not None}

    def _attempt(self, droplet: Droplet, names: frozenset[str]) -> BlueGreenError | None:
        try:
            self._run_one(droplet, names)
        except BlueGreenError as error:
            self.log.warning("%s: %s", droplet.name, error)
            return error
        return None

    def _run_one(self, droplet: Droplet, names: frozenset[str]) -> None:
        self.log.info("%s is to run %s", droplet.label, listed(names) or "nothing")
        agent, named = DropletAgentHook.of(droplet, self.app), _Named(self.log, droplet.name)
        log = JobLog(named)
        with RemoteJob(agent, self.app.id, processes_unit(self.app.id), self.token) as job:
            with refusals_explained(self.proxies):
                program = processes_program(self.app, sorted(names))
                # One that was left by a try of this run that died may have had another share.
                if job.start(self.run_id, program, SECONDS):
                    job.end()
                    job.start(self.run_id, program, SECONDS)
            report = job.follow(log.write, self._renew)
            remove_traces(job, KIND, named)
            require_success(report, droplet.name, KIND, log)

    def _renew(self) -> None:
        """Renew the lock, one job for all."""
        if self._renewing.acquire(blocking=False):
            try:
                self.proxies.renew_in_time()
            finally:
                self._renewing.release()


class _Named:
    """A log whose lines begin with a droplet's name."""

    def __init__(self, log: Any, name: str) -> None:
        self._log = log
        self._name = name

    def info(self, event: str, *args: object) -> None:
        """Log a line."""
        self._log.info(f"%s: {event}", self._name, *args)

    def warning(self, event: str, *args: object) -> None:
        """Log a warning."""
        self._log.warning(f"%s: {event}", self._name, *args)


def _like(errors: Iterable[BlueGreenError], message: str) -> BlueGreenError:
    """Return an error with another message that is transient if there are others, and all of them are."""
    error, known = BlueGreenError(message), list(errors)
    error.transient = bool(known) and combined(known).transient
    return error
