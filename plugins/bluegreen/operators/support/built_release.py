"""What the tasks share that bring what the task ``build`` has built to an idle droplet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.operators.support.droplet_job import IdleDropletJobOperator
from bluegreen.operators.support.this_run import left_as
from bluegreen.release.artifact import BuiltArtifact
from bluegreen.release.configuration import templates_of

if TYPE_CHECKING:
    from agent.protocol import Configuration
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun


class BuiltReleaseOperator(IdleDropletJobOperator):
    """A task whose job is about the release that the task ``build`` has built, on one idle droplet.

    :param built: the :class:`BuiltArtifact` of the task ``build``; templated.
    """

    template_fields: Sequence[str] = (*IdleDropletJobOperator.template_fields, "built")

    def __init__(self, *, built: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = built

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that revision, plan and artifact are what this run's own tasks have found and built.

        :raises PolicyError: if they are not.
        """
        super().require_seals(run)
        self.seals(run).require_result("build", self.revision, self.built)

    def release_to_install(self, proxies: ProxiesHook) -> tuple[BuiltArtifact, Configuration, ArtifactStore]:
        """Return the release, what it runs with, and the store that has its artifact.

        :raises BlueGreenError: if the configuration was changed since the release was built.
        """
        built = left_as(BuiltArtifact, self.built)
        store = ArtifactStore.of(self.app, proxies.renew_in_time)
        return built, built_configuration(store, built), store


def built_configuration(store: ArtifactStore, built: BuiltArtifact) -> Configuration:
    """Return what a release runs with, which is the same on every droplet.

    :raises BlueGreenError: if it was changed since the release was built.
    """
    app = store.app
    known = store.built(built.key) if templates_of(app) else None
    if templates_of(app) and known is None:
        raise BlueGreenError(f"{store.name} does not know {built.release} any more; trigger a new run")
    texts = known.texts if known else {}
    is_known = set(templates_of(app)) <= set(texts)
    configuration = configuration_of(app, texts) if is_known else None
    if configuration is None or configuration["digest"] != built.configuration:
        raise BlueGreenError(
            "the app's environment, or a delivered file, was changed after this run's task build, so "
            "its droplets would not all have the same; trigger a new run"
        )
    return configuration
