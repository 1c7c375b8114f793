"""The app's own commands during a deploy: the section ``hooks``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bluegreen.settings.fields import Words
from bluegreen.settings.section import Section


class Hook(Section):
    """One of the app's own commands; ``user`` is the user that builds releases, or that runs the app."""

    command: Words
    """A list of words. No shell, unless you write [bash, -c, "…"]."""
    droplets: Literal["one", "all"] = "all"
    """`all` of the color's droplets, or `one`."""
    user: Literal["build", "app"] = "app"
    """`app`, the user that runs the app, or `build`, the user that builds it."""
    timeout: Annotated[int, Field(ge=1, le=3600)] = 60
    """Seconds after which the command is ended, and has failed."""


class Moment(StrEnum):
    """The moments at which commands run; each is a field of :class:`Hooks`."""

    BEFORE_DEPLOY = "before_deploy"
    BEFORE_SWITCH = "before_switch"
    AFTER_SWITCH = "after_switch"
    AFTER_ROLLBACK = "after_rollback"
    ON_FAILURE = "on_failure"

    @property
    def stops_the_deploy(self) -> bool:
        """Whether a command that fails stops the deploy; traffic has not moved then."""
        return self in (Moment.BEFORE_DEPLOY, Moment.BEFORE_SWITCH)


class Hooks(Section):
    """Commands at certain moments of a deploy."""

    before_deploy: list[Hook] = []
    """Before anything is built. A command that fails stops the deploy."""
    before_switch: list[Hook] = []
    """Before traffic moves. A command that fails stops the deploy."""
    after_switch: list[Hook] = []
    """Beside the bake. A command that fails is a warning in the report."""
    after_rollback: list[Hook] = []
    """After traffic has moved back. A command that fails is a warning in the report."""
    on_failure: list[Hook] = []
    """At the end of a deploy that failed after its checks. A command that fails is a warning in the report.
    """
