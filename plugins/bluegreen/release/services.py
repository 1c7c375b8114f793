"""What a droplet is asked about the backing services of its app."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from agent.protocol import LoadRequest, Step, Verb
from agent.services import KINDS, ServiceCheck, ServicesRequest
from bluegreen.release.cage import CAGE
from bluegreen.settings.app import App


def checks_of(app: App, kinds: Collection[str] = KINDS) -> list[ServiceCheck]:
    """Return the checks of an app's services, of certain kinds."""
    return [
        {"name": name, "kind": one.kind, "value": getattr(one, one.kind), "timeout": one.timeout}
        for name, one in app.services.items()
        if one.kind in kinds
    ]


def services_steps(app: App, load: LoadRequest) -> list[Step]:
    """Return the step of a job that reaches the services as the release would; none if there are none.

    :param load: how the release is loaded before.
    """
    if not app.services:
        return []
    request: ServicesRequest = {
        "app": load["app"],
        "unit": load["unit"],
        "release": load["release"],
        "properties": load["properties"],
        "services": checks_of(app),
    }
    return [{"verb": Verb.SERVICES.value, "request": {**request}}]


def services_question(app: App, load: LoadRequest | None, kinds: Collection[str]) -> dict[str, Any]:
    """Return what a droplet is asked in a dry run.

    :param load: how a release is loaded there; ``None`` if there is none, so that the cage alone counts.
    :param kinds: of the checks that are made.
    """
    properties = load["properties"] if load else list(CAGE)
    return {"app": app.system_name, "properties": properties, "services": checks_of(app, kinds)}
