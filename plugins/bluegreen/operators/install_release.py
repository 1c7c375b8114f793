"""Installing and starting the release of its color on one droplet that is new, or was rebuilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.checks.gather.ask_machine import ask_app_server
from bluegreen.checks.gather.expected import has_units_of
from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.droplet_job import DropletJobOperator
from bluegreen.operators.support.seals import NO_REVISION
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.release import deploy_unit, pairing
from bluegreen.run.missing_release import MissingRelease

if TYPE_CHECKING:
    from agent.droplet.activated import Pairing
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.operators.support.this_run import ThisRun


class InstallReleaseOperator(DropletJobOperator):
    """Install, load and activate what the other droplets of its color run, on one droplet.

    HAProxy may have the droplet already, if it was rebuilt, and gives it traffic as soon as it is healthy. So
    it gets the very bytes, configuration and unit of the others, and is loaded before it is started.

    :param missing: the :class:`MissingRelease`; templated.
    """

    template_fields: Sequence[str] = (*DropletJobOperator.template_fields, "missing")
    kind = "install"

    def __init__(self, *, missing: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.missing = missing

    @property
    def _wanted(self) -> MissingRelease:
        return left_as(MissingRelease, self.missing)

    @property
    def droplet(self) -> Droplet:
        """The droplet that is new, or was rebuilt."""
        return self._wanted.droplet

    @property
    def unit(self) -> str:
        """The job's name."""
        return deploy_unit(self.app_id, self._wanted.revision)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that droplet and release are what this run's own task has found.

        :raises PolicyError: if they are not.
        """
        found = run.output("color_release") or []
        self.seals(run).require_result("color_release", NO_REVISION, found)
        if self.missing not in found:
            raise PolicyError("the task color_release has found another droplet, or another release")

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the droplet's name and the seconds that its job took.

        :raises BlueGreenError: with the cause that the job gave, if it failed.
        :raises StoreError: if the store is away, or has another file than was put there.
        """
        wanted, droplet = self._wanted, self.droplet
        run.context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
        proxies = self.proxies()
        proxies.renew()
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        record, configuration = stored_release(store, wanted.release, wanted.configuration)
        started = pairing(self.app, wanted.release, wanted.configuration, str(droplet.private))
        if self._is_done(started):
            # Airflow may run this again after it was done. HAProxy may have the droplet by then.
            self.log.info("%s runs %s already", droplet.label, wanted.release)
            return {"droplet": droplet.name, "job_seconds": 0.0}
        with self.job() as job:
            artifact = self.send_release(job, wanted.release, record.file, store, proxies)
            program = self.deploy_program(wanted.release, record.digest, artifact, configuration)
            with self.done(job, run, program, proxies) as report:
                return {"droplet": droplet.name, "job_seconds": report.seconds}

    def _is_done(self, wanted: Pairing) -> bool:
        """Whether the droplet runs this and was healthy with it, and nothing is at work there."""
        server = ask_app_server(self.app, self.droplet).answer
        if isinstance(server, BlueGreenError):
            raise server
        was_healthy = wanted.digest in {one.pairing for one in server.activated}
        is_running = (server.current, server.unit.ActiveState) == (wanted.release, "active")
        return was_healthy and is_running and not server.jobs and has_units_of(self.app, server, wanted)
