"""Starting on an idle droplet what was healthy there before, to go back to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.protocol import Verb
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.droplet_job import StartReleaseOperator
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.release import restore_program
from bluegreen.run.previous import PreviousRelease

if TYPE_CHECKING:
    from agent.protocol import Program
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.hooks.remote_job import RemoteJob
    from bluegreen.operators.support.this_run import ThisRun


class RestoreOperator(StartReleaseOperator):
    """Start a release on one droplet, with the configuration and the unit that it was healthy with there.

    :param previous: the :class:`PreviousRelease` of the task ``previous_release``; templated.
    """

    template_fields: Sequence[str] = (*StartReleaseOperator.template_fields, "previous")
    kind = "restore"

    def __init__(self, *, previous: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.previous = previous

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that revision, plan and release are what this run's own tasks have found.

        :raises PolicyError: if they are not.
        """
        super().require_seals(run)
        self.seals(run).require_result("previous_release", self.revision, self.previous)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the droplet's name and the seconds that its job took.

        :raises BlueGreenError: with the cause that the job gave, if it failed.
        """
        droplet = self.droplet
        run.context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
        proxies = self.idle_proxies()
        previous = left_as(PreviousRelease, self.previous)
        program = restore_program(
            self.app,
            {
                "release": previous.release,
                "configuration": previous.configuration,
                "pairing": previous.pairings[droplet.name],
            },
            self.kept,
        )
        with self.job() as job:
            if droplet.name in previous.from_store:
                program = self._from_store(previous, job, proxies)
                return self.start(job, run, program, proxies, Verb.ACTIVATE)
            return self.start(job, run, program, proxies, Verb.RESTORE)

    def _from_store(self, previous: PreviousRelease, job: RemoteJob, proxies: ProxiesHook) -> Program:
        """Send the release to a droplet that was replaced; return what installs, loads and starts it.

        :raises BlueGreenError: if the store does not have it, or its configuration is not the one of now.
        """
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        record, configuration = stored_release(store, previous.release, previous.configuration)
        artifact = self.send_release(job, previous.release, record.file, store, proxies)
        return self.deploy_program(previous.release, record.digest, artifact, configuration, self.kept)
