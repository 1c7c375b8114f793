"""The configuration that a release was built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.configuration import configuration_of
from bluegreen.release.configuration import templates_of

if TYPE_CHECKING:
    from agent.protocol import Configuration
    from bluegreen.hooks.artifact_store import ArtifactStore
    from bluegreen.release.artifact import BuiltArtifact


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
