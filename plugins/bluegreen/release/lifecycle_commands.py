"""Commands of an app's own at certain moments of a deploy, on the droplets that the run deploys to."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from bluegreen.release.cage import cage_values
from bluegreen.release.system_names import BUILD_USER, system_name
from bluegreen.scripts import render_script
from bluegreen.settings.app import App
from bluegreen.settings.hooks import Hook


class Moment(StrEnum):
    """When commands may run; each is a key of the setting ``hooks``."""

    BEFORE_DEPLOY = "before_deploy"
    BEFORE_SWITCH = "before_switch"
    AFTER_SWITCH = "after_switch"
    AFTER_ROLLBACK = "after_rollback"
    ON_FAILURE = "on_failure"

    @property
    def stops_the_deploy(self) -> bool:
        """Whether a command that fails stops the deploy; traffic has not moved then."""
        return self in (Moment.BEFORE_DEPLOY, Moment.BEFORE_SWITCH)


def hooks_at(app: App, moment: Moment) -> list[Hook]:
    """Return the commands that an app has for a moment."""
    hooks: list[Hook] = getattr(app.hooks, moment.value)
    return hooks


def hook_unit(app_id: str, moment: Moment, number: int) -> str:
    """Name of the transient unit that runs a command."""
    return f"bluegreen-{system_name(app_id)}-{moment.value}-{number}"


def hook_script(app_id: str, unit: str, hook: Hook, revision: str, facts: Mapping[str, str]) -> str:
    """The script that runs a command in the cage; it is a job, see :mod:`bluegreen.release.jobs`.

    :param unit: the job's name, see :func:`hook_unit`.
    :param facts: what the command finds in its environment, with the prefix ``BLUEGREEN_``.
    """
    assignments = [f"BLUEGREEN_{name}={value}" for name, value in facts.items()]
    return render_script(
        "droplet/run_hook.sh.j2",
        system_name=system_name(app_id),
        user=BUILD_USER if hook.user == "build" else system_name(app_id),
        unit=unit,
        revision=revision,
        # systemd takes a $ for a variable unless it is doubled.
        words=[word.replace("$", "$$") for word in (*assignments, *hook.command)],
        **cage_values(),
    )
