"""Running the expand phase of a migration on one idle droplet, before traffic moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.operators.support.droplet_job import IdleDropletJobOperator
from bluegreen.operators.support.migration_job import MigrationJobOperator
from bluegreen.operators.support.started import require_started
from bluegreen.release.migrations import Phase, migration_program, migration_unit, seconds_of
from bluegreen.settings.app import App

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.traffic.agent_answers import StartedRelease


class ExpandOperator(MigrationJobOperator, IdleDropletJobOperator):
    """Run ``migrations.expand`` once, with the new release on the first idle droplet."""

    phase = Phase.EXPAND
    kind = phase.value
    _started: StartedRelease

    @property
    def droplet(self) -> Droplet:
        """The first idle droplet, in the order of the fleet."""
        return self.run_plan.idle_droplets[0]

    @property
    def unit(self) -> str:
        """The job's name."""
        return migration_unit(self.app_id, Phase.EXPAND, self.revision)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that every idle droplet runs what this run's own tasks have built.

        :raises PolicyError: if that is not proven.
        """
        super().require_seals(run)
        self._started = require_started(run, self.seals(run), self.app, self.revision, self.run_plan)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the :class:`Migration`.

        :raises BlueGreenError: with the command and its last words.
        :raises JobGoneError: if the job vanished; the commands can be run again.
        """
        proxies, started = self.idle_proxies(), self._started
        program = migration_program(
            self.app, self.phase, started.release, started.configuration, str(self.droplet.private)
        )
        with self.job() as job:
            result = self.migrated(job, run, program, proxies, seconds_of(self.app, self.phase))
        self.seals(run).seal_result(self.revision, result)
        return result


def expand(app: App, **given: Any) -> list[ExpandOperator]:
    """Return the task ``expand`` as a list of one; an empty list if the app has no commands for it.

    :param given: what the task is given by others: ``lock``, ``plan`` and ``revision``.
    """
    return [ExpandOperator(task_id=Phase.EXPAND.value, **given)] if app.migrations.expand else []
