"""The app's own commands during a deploy: the section ``hooks``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bluegreen.settings.fields import Words
from bluegreen.settings.section import Section


class Hook(Section):
    """One of the app's own commands; ``user`` is the user that builds releases, or that runs the app."""

    command: Words
    droplets: Literal["one", "all"] = "all"
    user: Literal["build", "app"] = "app"
    timeout: Annotated[int, Field(ge=1, le=3600)] = 60


class Hooks(Section):
    """Commands at certain moments of a deploy."""

    before_deploy: list[Hook] = []
    before_switch: list[Hook] = []
    after_switch: list[Hook] = []
    after_rollback: list[Hook] = []
    on_failure: list[Hook] = []
