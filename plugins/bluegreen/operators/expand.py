"""Running the expand phase of a migration on one idle droplet, before the new release is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.built_release import BuiltReleaseOperator
from bluegreen.operators.support.migration_job import MigrationJobOperator
from bluegreen.release.migrations import Phase, migration_program, migration_unit, seconds_of
from bluegreen.settings.app import App

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun


class ExpandOperator(MigrationJobOperator, BuiltReleaseOperator):
    """Run ``migrations.expand`` once, with the new release on the first idle droplet.

    The release is installed and loaded there, and not started: an app may need what its migration adds.
    """

    template_fields = BuiltReleaseOperator.template_fields
    phase = Phase.EXPAND
    kind = phase.value

    @property
    def droplet(self) -> Droplet:
        """The first idle droplet, in the order of the fleet."""
        return self.run_plan.idle_droplets[0]

    @property
    def unit(self) -> str:
        """The job's name."""
        return migration_unit(self.app_id, self.phase, self.revision)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Migration`.

        :raises BlueGreenError: with the command and its last words.
        :raises JobGoneError: if the job vanished; the commands can be run again.
        """
        proxies = self.idle_proxies()
        built, configuration, store = self.release_to_install(proxies)
        with self.job() as job:
            # Should the migration fail, what runs there is what a rollback goes back to.
            artifact = self.send_release(job, built.release, built.artifact, store, proxies, optional=True)
            address = str(self.droplet.private)
            program = migration_program(
                self.app, self.phase, built.release, built.digest, artifact, configuration, address
            )
            result = self.migrated(job, run, program, proxies, seconds_of(self.app, self.phase))
        self.seals(run).seal_result(self.revision, result)
        return result


def expand(app: App, built: Any, **given: Any) -> list[ExpandOperator]:
    """Return the task ``expand`` as a list of one; an empty list if the app has no commands for it.

    :param built: the result of the task ``build``.
    :param given: what the task is given by others: ``lock``, ``plan`` and ``revision``.
    """
    if not app.migrations.expand:
        return []
    return [ExpandOperator(task_id=Phase.EXPAND.value, built=built, **given)]
