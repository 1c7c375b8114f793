"""Stopping the idle color, some time after a deploy or a rollback."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk.exceptions import AirflowSkipException

from agent.protocol import Code, Verb
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.two_phase import combined
from bluegreen.operators.freeze import FREEZE, UNMOVED_KEY
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.release.stop_idle import seconds_left, switched_since
from bluegreen.run.plan import HeldLock
from bluegreen.traffic.agent_answers import ProxyStatus, utc
from bluegreen.traffic.drain import requests, sessions_on
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.proxies import ProxiesHook

STOPS_AT_KEY = "stops_at"
# In the configuration of the run that stops: the token of the one that it follows.
TOKEN = "token"  # noqa: S105

# Of the time that is set: a clock may have been put right meanwhile.
EARLY = 0.1


class StopIdleLaterOperator(TriggerDagRunOperator):
    """Let Airflow begin a run of the DAG that stops the idle color, when its time has come.

    Such a run is kept in Airflow's database: it survives a restart, and what is late runs late.

    After a freeze the old release stays warm, for somebody who knows that it can be gone back to. If traffic
    has not moved, it is the new release that is idle, and that is stopped.

    :param seconds: how long the idle color stays warm from now on.
    :param lock: the run's :class:`HeldLock`; templated.
    """

    template_fields: Sequence[str] = (*TriggerDagRunOperator.template_fields, "lock")

    def __init__(self, *, seconds: int, lock: Any, app_id: str = "", **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=stop_idle_dag_id(app_id), **kwargs)
        self.seconds = seconds
        self.lock = lock

    def execute(self, context: Context) -> None:
        """Make the run.

        :raises AirflowSkipException: if the idle color is to stay warm.
        """
        run = ThisRun(context)
        froze = FREEZE in run.task_ids and run.states.get(FREEZE) != "skipped"
        if froze and not run.output(FREEZE, UNMOVED_KEY):
            raise AirflowSkipException("the idle color stays warm: traffic may stay on a bad release")
        self.run_after = datetime.now(UTC) + timedelta(seconds=self.seconds)
        moment = utc(self.run_after.timestamp())
        run.push(STOPS_AT_KEY, moment)
        self.log.info("the idle color is stopped at %s", moment)
        self.conf = {TOKEN: HeldLock.model_validate(self.lock).fencing_token}
        # One for each attempt: another switch of a cleared run is another one to follow.
        self.trigger_run_id = _run_id_after(f"{run.dag_id}__{run.run_id}", context["ti"].try_number)
        super().execute(context)


class StopIdleOperator(LockedOperator):
    """Stop the app on all droplets of the idle color, unless it is too early, or anything is undecided."""

    def act(self, run: ThisRun) -> str:
        """Return what was done, for the report.

        :raises BlueGreenError: if a switch is undecided, if it is not known who is live, or if a droplet
            could not be stopped.
        """
        fleet, hook = self.read_fleet(), self.proxies()
        statuses = hook.statuses()
        live = live_color(statuses)
        if live is None:
            return "nothing is live, so nothing was stopped"
        self._require_decided(statuses)
        after = run.conf.get(TOKEN)
        # Clocks may be wrong: only a run by hand needs them.
        if isinstance(after, int):
            if other := switched_since(statuses.values(), after):
                return f"{other} has switched since; {live.other} stays warm until the stop that follows it"
        elif left := self._seconds_left(statuses):
            moment = utc(datetime.now(UTC).timestamp() + left)
            return f"traffic has moved since, so {live.other} stays warm until {moment}"
        if cut := sessions_on(live.other, statuses.values()):
            self.log.warning("%s on %s is given up", requests(cut), live.other)
        droplets = fleet.color(live.other)
        self._stop_all(hook, live.other, [droplet for droplet in droplets if not droplet.off])
        done = f"{live.other} is stopped; a rollback starts it again"
        if off := ", ".join(droplet.name for droplet in droplets if droplet.off):
            done += f"; not on {off}, which is off: there the app starts with the droplet"
        return done

    @staticmethod
    def _require_decided(statuses: Mapping[str, ProxyStatus]) -> None:
        for name, status in statuses.items():
            if status.pending is not None:
                raise BlueGreenError(
                    f"{name} has a switch to {status.pending.to} that is not decided, by "
                    f"{status.pending.run_id}; nothing was stopped"
                )

    def _seconds_left(self, statuses: Mapping[str, ProxyStatus]) -> float:
        after = self.app.seconds_until_stop
        if after is None:
            raise BlueGreenError("server.stop_idle_after is not set any more; nothing was stopped")
        left = seconds_left(statuses.values(), after)
        return left if left > after * EARLY else 0

    def _stop_all(self, hook: ProxiesHook, color: Color, droplets: Sequence[Droplet]) -> None:
        failed: list[BlueGreenError] = []
        for first in range(0, len(droplets), CONNECTIONS_AT_ONCE):
            # It refuses if that color has traffic, or a share of it. It also renews the lock, whose lease may
            # be shorter than a stop of many droplets.
            hook.require_idle(color)
            few = droplets[first : first + CONNECTIONS_AT_ONCE]
            with refusals_explained(hook), ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
                failed += filter(None, pool.map(self._stop, few))
        if failed:
            self.log.warning("%s is not stopped everywhere", color)
            raise combined(failed)

    def _stop(self, droplet: Droplet) -> BlueGreenError | None:
        """Stop one, and return what went wrong, unless it is another run's by now."""
        try:
            with closing(DropletAgentHook.of(droplet, self.app)) as agent:
                agent.call(Verb.STOP, app=self.app.system_name, token=self.held_lock.fencing_token)
        except BlueGreenError as error:
            if isinstance(error, AgentRefusedError) and error.code == Code.CLAIMED:
                raise
            return error
        self.log.info("%s is stopped", droplet.label)
        return None


def _run_id_after(run: str, attempt: int) -> str:
    """Name the run that follows another one; names are as long as Airflow allows, so the end is a digest."""
    digest = hashlib.sha256(run.encode()).hexdigest()[:12]
    return f"after__{run[:200]}__{digest}__{attempt}"


def stop_idle_dag_id(app_id: str) -> str:
    """Name the DAG that stops an app's idle color."""
    return f"bluegreen_stop_idle__{app_id}"
