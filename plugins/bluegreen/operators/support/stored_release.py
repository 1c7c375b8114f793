"""A release of the artifact store, with the configuration that it ran with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.configuration import configuration_of
from bluegreen.release.configuration import templates_of

if TYPE_CHECKING:
    from agent.protocol import Configuration
    from bluegreen.hooks.artifact_store import ArtifactStore
    from bluegreen.release.artifact import ArtifactRecord


def stored_release(
    store: ArtifactStore, release: str, configuration: str
) -> tuple[ArtifactRecord, Configuration]:
    """Return the artifact of a release, and the configuration with a digest.

    The store has no configurations, because they hold secrets: it is the one of now, or there is none.

    :raises BlueGreenError: if the artifact is not there, or the configuration of now is another one.
    :raises StoreError: if the store cannot be read.
    """
    built = store.find(release)
    if built is None:
        raise BlueGreenError(f"{store.name} does not have the artifact of {release}")
    # Without the text of a template that the settings have now, no configuration can be made.
    is_known = set(templates_of(store.app)) <= set(built.texts)
    found = configuration_of(store.app, built.texts) if is_known else None
    if found is None or found["digest"] != configuration:
        raise BlueGreenError(
            f"the environment, or the files, that {release[:12]} ran with were changed in Airflow since"
        )
    return built.record, found
