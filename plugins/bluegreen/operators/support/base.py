"""What all operators of this package share."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.hooks.digitalocean import DigitalOceanHook
from bluegreen.operators.support.failures import failures_reported
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.settings.validation import ValidationSettings

if TYPE_CHECKING:
    from airflow.sdk import Context


class TaskOfApp:
    """A task of one app; also a sensor, or an operator of Airflow's own.

    :ivar app_id: which app; its settings are read when the task runs.
    """

    app_id: str

    @cached_property
    def app(self) -> App:
        """The app's settings as they are now."""
        return load_app(self.app_id)


class BlueGreenOperator(TaskOfApp, BaseOperator):
    """A task of one app; subclasses do their work in :meth:`act`.

    :param app_id: which app; default: the one in the DAG's ``default_args``.
    """

    def __init__(self, *, app_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.app_id = app_id

    def execute(self, context: Context) -> Any:
        """Run :meth:`act` after :meth:`require_seals`; errors that a user can cause become one line."""
        with failures_reported(context):
            run = ThisRun(context)
            self.require_seals(run)
            return self.act(run)

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that what other tasks left for this one is what they left; nothing for most tasks.

        :raises PolicyError: if it was changed by hand.
        """

    @abstractmethod
    def act(self, run: ThisRun) -> Any:
        """Do the work; the return value is the task's XCom.

        :raises BlueGreenError: with the one line to show.
        """

    def validation(self, run: ThisRun) -> ValidationSettings:
        """How this run judges the new color: as the app's settings say, for as long as the run's ``bake``."""
        bake = run.params.get("bake")
        return self.app.validation if bake is None else self.app.validation.with_bake(bake)

    def read_fleet(self, *, goes_back: bool = False) -> Fleet:
        """Ask DigitalOcean's API for the app's droplets.

        :param goes_back: whether a rollback wants to know: then those without a role, or with several, do not
            stand in its way.
        :raises FleetError: naming them, otherwise.
        """
        fleet, problems = self.sort_droplets()
        if problems and not goes_back:
            raise FleetError("; ".join(problems.values()))
        for problem in problems.values():
            self.log.warning("left out: %s", problem)
        return fleet

    def sort_droplets(self) -> tuple[Fleet, dict[Droplet, str]]:
        """Ask DigitalOcean's API for the app's droplets; describe each without a role, or with several."""
        tags = self.app.fleet.tags
        return Fleet.sorted(DigitalOceanHook(self.app.connections.digitalocean).droplets(tags.app), tags)
