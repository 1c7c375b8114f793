"""The lock that keeps two runs of one app apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from agent.protocol import Code
from bluegreen.errors import BlueGreenError, FleetError, ProxyError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE, DropletHook, DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.operators.support import metrics
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.claims import newest_token
from bluegreen.operators.support.run_record import record_at_start
from bluegreen.run.plan import HeldLock
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.reached import not_reached

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun

FOUND_KEY = "found_proxies"
ENDED = ("success", "failed", "skipped")
POLL_SECONDS = 2.0


class AcquireLockOperator(BlueGreenOperator):
    """Take the app's lock on every proxy.

    :param purpose: shown to a run that finds the app locked; templated.
    :param reachable_only: leave out proxies that cannot be reached, all of them if need be. That is
        for provisioning, which is what makes them reachable; nothing else can be at work there meanwhile,
        because every other run needs them all.
    :param goes_back: leave out proxies that no deploy has reached yet. They serve nobody, and must not
        keep a rollback from the others, by which it is known who is live.
    :param wait: seconds to wait for another run; default: ``timeouts.lock_wait``.
    :param lease: seconds that the lock lasts for a run that does not renew it; default: the app's.
    :param conf_keys: what another run may trigger this one with, beside the parameters of its DAG.
    """

    template_fields: Sequence[str] = ("purpose",)

    def __init__(
        self,
        *,
        purpose: str,
        reachable_only: bool = False,
        goes_back: bool = False,
        wait: int | None = None,
        lease: int | None = None,
        conf_keys: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conf_keys = conf_keys
        self.wait = wait
        self.lease = lease
        self.purpose = purpose
        self.reachable_only = reachable_only
        self.goes_back = goes_back

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`HeldLock`.

        :raises BlueGreenError: if the run has a parameter that its DAG does not have.
        :raises ProxyError: if another run holds it until the wait is over; the text names that
            run.
        """
        run.refuse_unknown_params(self.conf_keys)
        self._refuse_a_run_that_has_ended(run)
        deadline = time.monotonic() + self._longest_wait
        found = self._proxies()
        while True:
            with closing(ProxiesHook(self.app, found)) as hook:
                tokens, waited = self._wait_for(hook, found, run, deadline)
                # Who was waited for may have provisioned another.
                now = self._proxies() if waited else found
                if {one.id for one in now} == {one.id for one in found}:
                    break
                self.log.info("there are other proxies since: %s", ", ".join(one.label for one in now))
                # All again, in the order of their names.
                hook.unlock()
            found = now
        if found:
            metrics.emit(metrics.locked(self.app_id, since=time.time()))
        return HeldLock(proxies=found, tokens=tokens).model_dump(mode="json")

    @property
    def _longest_wait(self) -> int:
        return self.app.timeouts.lock_wait if self.wait is None else self.wait

    def _proxies(self) -> tuple[Droplet, ...]:
        """Return those to lock, as they are now."""
        proxies = self.read_fleet(goes_back=self.goes_back).proxies
        if self.reachable_only:
            return tuple(one for one in proxies if self._reachable(one))
        if not proxies:
            raise FleetError(f"{self.app_id} has no proxy; run bluegreen_provision__{self.app_id} first")
        return self._deployed_to(proxies) if self.goes_back else proxies

    def _deployed_to(self, proxies: tuple[Droplet, ...]) -> tuple[Droplet, ...]:
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            statuses = pool.map(self._status, proxies)
            left_out = not_reached(dict(zip(proxies, statuses, strict=True)))
        for droplet in left_out:
            self.log.warning("%s is left out: no deploy has reached it yet", droplet.label)
        return tuple(droplet for droplet in proxies if droplet not in left_out)

    def _status(self, droplet: Droplet) -> ProxyStatus | BlueGreenError:
        if droplet.is_new:
            return FleetError(f"{droplet.label} is being made")
        try:
            with closing(ProxyHook.of(droplet, self.app)) as hook:
                return hook.status()
        except BlueGreenError as error:
            return error

    def _wait_for(
        self,
        hook: ProxiesHook,
        proxies: Sequence[Droplet],
        run: ThisRun,
        deadline: float,
    ) -> tuple[dict[str, int], bool]:
        """Return the lock's tokens, and whether they had to be waited for."""
        holder = ""
        while True:
            try:
                tokens = hook.lock(
                    owner=run.triggered_by,
                    run_id=run.holder,
                    ref=self.purpose,
                    has_ended=lambda other: self._is_over(run, other),
                    lease=self.lease,
                    record_at_start=record_at_start(run, self.purpose).line(),
                    last_token=self._newest_token_on_droplets,
                )
                return tokens, bool(holder)
            except BlueGreenError as error:
                # A connection that is lost in a long wait is no reason to end it.
                may_wait = _is_locked(error) or (holder and error.transient)
                if not may_wait or time.monotonic() >= deadline:
                    # The report records there how this run ended, and waits for a proxy that is away.
                    run.push(FOUND_KEY, [one.model_dump(mode="json") for one in proxies])
                    raise
                # The text changes whenever the holder renews its lease.
                if holder != (holder := str(error).partition(" until ")[0]):
                    self.log.info("waiting up to %s s: %s", self._longest_wait, error)
                time.sleep(POLL_SECONDS)

    def _refuse_a_run_that_has_ended(self, run: ThisRun) -> None:
        """Airflow's "clear failed tasks" runs some tasks again, but not those that judge and roll back."""
        states = run.states
        # A teardown may have been about to begin when the whole run was cleared.
        judging = [task.task_id for task in self.get_flat_relatives() if not task.is_teardown]
        ended = [task for task in judging if states.get(task) in ENDED]
        if ended:
            raise BlueGreenError(
                f"this run has ended before ({', '.join(sorted(ended))}) and was cleared in part, so it "
                "changes nothing; trigger a new run"
            )

    def _newest_token_on_droplets(self) -> int:
        fleet = self.read_fleet(goes_back=self.goes_back)
        return newest_token(self.app, [*fleet.blue, *fleet.green])

    @staticmethod
    def _is_over(run: ThisRun, holder: str) -> bool:
        """Whether a run has ended without giving its lock back.

        One that this Airflow does not know was deleted, or is another Airflow's: its lease decides.
        """
        dag_id, _, run_id = holder.partition("/")
        ended: int = run.context["ti"].get_dr_count(dag_id, run_ids=[run_id], states=["success", "failed"])
        return ended > 0

    def _reachable(self, proxy: Droplet) -> bool:
        if proxy.public is None:
            return False
        try:
            DropletHook.of(proxy, self.app).run(["true"])
        except DropletUnreachableError as error:
            self.log.info("not locked, and not in use by anybody: %s", error)
            return False
        return True


def _is_locked(error: BlueGreenError) -> bool:
    return isinstance(error, ProxyError) and error.code == Code.LOCKED
