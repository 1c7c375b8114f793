"""Running the contract phase of a migration: there is no way back to an older release after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.migration_job import MigrationJobOperator
from bluegreen.operators.support.seals import NO_REVISION
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.migrations import Phase, migration_program, migration_unit, seconds_of
from bluegreen.run.contract import ContractTarget

if TYPE_CHECKING:
    from agent.protocol import Program
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.hooks.remote_job import RemoteJob
    from bluegreen.operators.support.this_run import ThisRun


class ContractOperator(MigrationJobOperator):
    """Run ``migrations.contract`` once, with the live release, on one idle droplet.

    Live droplets are left alone: the release is installed on the idle one, and not started there.

    :param target: the :class:`ContractTarget` of the task ``contract_check``; templated.
    """

    template_fields: Sequence[str] = (*MigrationJobOperator.template_fields, "target")
    phase = Phase.CONTRACT
    kind = phase.value

    def __init__(self, *, target: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target = target

    @property
    def _target(self) -> ContractTarget:
        return left_as(ContractTarget, self.target)

    @property
    def droplet(self) -> Droplet:
        """The droplet that runs the commands."""
        return self._target.droplet

    @property
    def unit(self) -> str:
        """The job's name."""
        return migration_unit(self.app_id, self.phase, self._target.revision)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that release and droplet are what this run's own task has found.

        :raises PolicyError: if they are not.
        """
        self.seals(run).require_result("contract_check", NO_REVISION, self.target)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Migration`.

        :raises BlueGreenError: with the command and its last words.
        :raises StoreError: if the store is away, or has another file than was put there.
        """
        proxies = self.proxies()
        limit = seconds_of(self.app, self.phase)
        with self.job() as job:
            program = self._prepare(job, proxies)
            # Before anything can run: however this run ends, a rollback knows.
            proxies.note_contract()
            return self.migrated(job, run, program, proxies, limit)

    def _prepare(self, job: RemoteJob, proxies: ProxiesHook) -> Program:
        """Send the release to the droplet, and return what the job does."""
        target = self._target
        proxies.require_idle(target.live.other)
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        record, configuration = stored_release(store, target.release, target.configuration)
        # A release is warm there that nobody would start again.
        artifact = self.send_release(job, target.release, record.file, store, proxies, optional=True)
        address = str(target.droplet.private)
        return migration_program(
            self.app, self.phase, target.release, record.digest, artifact, configuration, address
        )
