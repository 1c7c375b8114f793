"""Installing a release on one idle droplet, and starting it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.protocol import Verb
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.built_configuration import built_configuration
from bluegreen.operators.support.droplet_job import StartReleaseOperator
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.artifact import BuiltArtifact
from bluegreen.release.release import deploy_program

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class DeployOperator(StartReleaseOperator):
    """Install, load and activate what the task ``build`` has built, on one droplet.

    :param built: the :class:`BuiltArtifact` of the task ``build``; templated.
    """

    template_fields: Sequence[str] = (*StartReleaseOperator.template_fields, "built")
    kind = "deploy"

    def __init__(self, *, built: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = built

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that revision, plan and artifact are what this run's own tasks have found and built.

        :raises PolicyError: if they are not.
        """
        super().require_seals(run)
        self.seals(run).require_result("build", self.revision, self.built)

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the droplet's name and the seconds that its job took.

        :raises BlueGreenError: with the cause that the job gave, if it failed.
        """
        droplet = self.droplet
        run.context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
        proxies = self.idle_proxies()
        built = left_as(BuiltArtifact, self.built)
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        configuration = built_configuration(store, built)
        with self.job() as job:
            transfer = self.transfer(job, proxies)
            artifact = self.send_release(built.release, built.artifact, store, transfer, proxies)
            program = deploy_program(
                self.app,
                built.release,
                built.digest,
                artifact,
                configuration,
                str(droplet.private),
                self.kept,
            )
            return self.start(job, run, program, proxies, Verb.ACTIVATE)
