"""The end of the old color: some time after a switch was confirmed it is stopped."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE, DropletHook, output_of
from bluegreen.job import Claim
from bluegreen.operators.locked import LockedOperator
from bluegreen.stop_idle import seconds_left, stop_script
from bluegreen.traffic import LoadBalancerStatus, live_color, utc

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.fleet import Droplet

STOPS_AT_KEY = "stops_at"

# Of the time that is set: a clock may have been put right meanwhile.
EARLY = 0.1


class StopIdleLaterOperator(TriggerDagRunOperator):
    """Let Airflow begin a run of the DAG that stops the idle color, when its time has come.

    Such a run is kept in Airflow's database: it survives a restart, and what is late runs late.

    :param seconds: how long the old color stays warm after the switch was confirmed.
    """

    def __init__(self, *, app_id: str, seconds: int, **kwargs: Any) -> None:
        # One for each attempt: another switch of a cleared run is another one to follow.
        run_id = "after__{{ dag.dag_id }}__{{ run_id }}__{{ ti.try_number }}"
        super().__init__(trigger_dag_id=stop_idle_dag_id(app_id), trigger_run_id=run_id, **kwargs)
        self.seconds = seconds

    def execute(self, context: Context) -> None:
        """Make the run."""
        self.run_after = datetime.now(UTC) + timedelta(seconds=self.seconds)
        moment = utc(self.run_after.timestamp())
        context["ti"].xcom_push(key=STOPS_AT_KEY, value=moment)
        self.log.info("the idle color is stopped at %s", moment)
        super().execute(context)


class StopIdleOperator(LockedOperator):
    """Stop the app on all droplets of the idle color, unless it is too early, or anything is undecided."""

    def act(self, context: Context) -> str:
        """Return what was done, for the report.

        :raises BlueGreenError: if a switch is undecided, if it is not known who is live, or if a droplet
            could not be stopped.
        """
        fleet, hook = self.read_fleet(), self.load_balancers()
        statuses = hook.statuses()
        live = live_color(statuses)
        if live is None:
            return "nothing is live, so nothing was stopped"
        self._demand_decided(statuses)
        if left := self._seconds_left(statuses):
            moment = utc(datetime.now(UTC).timestamp() + left)
            return f"a switch was confirmed since, so {live.other} stays warm until {moment}"
        # It refuses if that color has traffic, or a share of it.
        hook.demand_idle(live.other)
        script = stop_script(Claim(self.app_id, self.held_lock.fencing_token))
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            problems = list(pool.map(lambda droplet: self._stop(droplet, script), fleet.color(live.other)))
        if trouble := [problem for problem in problems if problem]:
            raise BlueGreenError(f"{live.other} is not stopped everywhere: {'; '.join(trouble)}")
        return f"{live.other} is stopped; a rollback starts it again"

    @staticmethod
    def _demand_decided(statuses: Mapping[str, LoadBalancerStatus]) -> None:
        for name, status in statuses.items():
            if status.pending is not None:
                raise BlueGreenError(
                    f"{name} has a switch to {status.pending.to} that is not decided, by "
                    f"{status.pending.run_id}; nothing was stopped"
                )

    def _seconds_left(self, statuses: Mapping[str, LoadBalancerStatus]) -> float:
        after = self.app.server.stop_idle_after
        if after is None:
            raise BlueGreenError("server.stop_idle_after is not set any more; nothing was stopped")
        left = seconds_left(statuses.values(), after)
        return left if left > after * EARLY else 0

    def _stop(self, droplet: Droplet, script: str) -> str | None:
        if droplet.off:
            return None
        try:
            with DropletHook.of(droplet, self.app) as hook:
                output_of(hook, script)
        except BlueGreenError as error:
            return str(error)
        self.log.info("%s is stopped", droplet.label)
        return None


def stop_idle_dag_id(app_id: str) -> str:
    """Name the DAG that stops an app's idle color."""
    return f"bluegreen_stop_idle__{app_id}"
