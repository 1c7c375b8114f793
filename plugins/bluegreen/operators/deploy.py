"""Installing a release on one idle droplet, and starting it there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agent.protocol import Verb
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators.support.droplet_job import StartReleaseOperator
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.artifact import BuiltArtifact
from bluegreen.release.configuration import templates_of
from bluegreen.release.release import deploy_program

if TYPE_CHECKING:
    from agent.protocol import Configuration
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
        configuration = self._configuration(built, store)
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

    def _configuration(self, built: BuiltArtifact, store: ArtifactStore) -> Configuration:
        """Return what the release runs with, which is the same on every droplet.

        :raises BlueGreenError: if it was changed since the release was built.
        """
        known = store.built(built.key) if templates_of(self.app) else None
        if templates_of(self.app) and known is None:
            raise BlueGreenError(f"{store.name} does not know {built.release} any more; trigger a new run")
        texts = known.texts if known else {}
        is_known = set(templates_of(self.app)) <= set(texts)
        configuration = configuration_of(self.app, texts) if is_known else None
        if configuration is None or configuration["digest"] != built.configuration:
            raise BlueGreenError(
                "the app's environment, or a delivered file, was changed after this run's task build, so "
                "its droplets would not all have the same; trigger a new run"
            )
        return configuration
