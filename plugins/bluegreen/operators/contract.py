"""Running the contract phase of a migration: there is no way back to an older release after it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.migration_job import MigrationJobOperator
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.release.migrations import Phase, contract_program, migration_unit, seconds_of
from bluegreen.run.contract import release_to_contract, still_needed
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import GoodRelease


class ContractOperator(MigrationJobOperator):
    """Run ``migrations.contract`` once, with the live release, on the first idle droplet.

    Live droplets are left alone: the release is installed on the idle one, and not started there.
    """

    phase = Phase.CONTRACT
    kind = phase.value

    @cached_property
    def _target(self) -> tuple[GoodRelease, Droplet]:
        """The live release, and the droplet that runs its commands.

        :raises BlueGreenError: if there is none of them.
        """
        statuses = self.proxies().statuses()
        live = live_color(statuses)
        release = release_to_contract(live, statuses)
        idle = self.read_fleet().color(live.other) if live else ()
        if not idle:
            raise BlueGreenError("there is no idle droplet that could run the commands")
        return release, idle[0]

    @property
    def droplet(self) -> Droplet:
        """The first idle droplet, in the order of the fleet."""
        return self._target[1]

    @property
    def unit(self) -> str:
        """The job's name."""
        return migration_unit(self.app_id, self.phase, self._target[0].revision)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Migration`.

        :raises BlueGreenError: if the release from before may still be needed, unless the DAG's param
            ``i_know`` is set; or with the command and its last words.
        :raises StoreError: if the store is away, or has another file than was put there.
        """
        proxies = self.proxies()
        statuses = proxies.statuses()
        wanted, droplet = self._target
        live = live_color(statuses)
        if live and (why := still_needed(live, statuses, self.app.migrations.keep_warm)):
            if not run.params.get("i_know"):
                raise BlueGreenError(f"{why}; wait, or set `i_know`; nothing was run")
            self.log.warning("%s", why)
        if live:
            proxies.require_idle(live.other)
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        record, configuration = stored_release(store, wanted.release, wanted.configuration)
        limit = seconds_of(self.app, self.phase) + self.app.timeouts.build
        with self.job() as job:
            transfer = self.transfer(job, proxies)
            artifact = self.send_release(wanted.release, record.file, store, transfer, proxies)
            program = contract_program(
                self.app, wanted.release, record.digest, artifact, configuration, str(droplet.private)
            )
            return self.migrated(job, run, program, proxies, limit)
