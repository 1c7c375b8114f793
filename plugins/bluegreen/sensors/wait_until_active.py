"""Wait until DigitalOcean has made an app's droplets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Fleet
from bluegreen.hooks.digitalocean import DigitalOceanError, DigitalOceanHook
from bluegreen.operators.support.failures import failures_reported
from bluegreen.polling import Deadline
from bluegreen.settings.app_file import load_app

if TYPE_CHECKING:
    from airflow.sdk import Context


class ActiveDropletsSensor(BaseSensorOperator):
    """Wait until every droplet of the app is active and has its addresses.

    :param app_id: which app; default: the one in the DAG's ``default_args``.
    """

    def __init__(self, *, app_id: str = "", **kwargs: Any) -> None:
        super().__init__(mode="poke", **kwargs)
        self.app_id = app_id
        self._deadline = Deadline()

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; the XCom is the list of droplets as dictionaries.

        :raises FleetError: (as a failed task) at the deadline, naming each droplet that is not ready.
        """
        with failures_reported(context):
            app = load_app(self.app_id)
            tags = app.fleet.tags
            try:
                droplets = DigitalOceanHook(app.connections.digitalocean).droplets(tags.app)
            except DigitalOceanError as error:
                if not error.transient:
                    raise
                # A retry of the whole task would start to count from zero.
                self._deadline.check(app.timeouts.boot, error)
                self.log.info("not yet: %s", error)
                return PokeReturnValue(False)
            fleet = Fleet.of(droplets, tags)
            problems = fleet.problems()
            if not problems:
                return PokeReturnValue(True, [droplet.model_dump(mode="json") for droplet in fleet.droplets])
            self._deadline.check(app.timeouts.boot, FleetError("; ".join(problems)))
            self.log.info("not yet: %s", "; ".join(problems))
            return PokeReturnValue(False)
