"""Wait until a new droplet can be worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import DropletHook, DropletUnreachableError
from bluegreen.operators.support.failures import failures_reported
from bluegreen.polling import Deadline
from bluegreen.settings.app_file import load_app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class BootedDropletSensor(BaseSensorOperator):
    """Wait until a droplet answers SSH with the host key recorded for it and cloud-init is done.

    :param app_id: which app.
    :param droplet: the droplet as a dictionary; templated.
    """

    template_fields: Sequence[str] = ("droplet",)

    def __init__(self, *, app_id: str, droplet: Any, **kwargs: Any) -> None:
        super().__init__(mode="poke", **kwargs)
        self.app_id = app_id
        self.droplet = droplet
        self._deadline = Deadline()

    def poke(self, context: Context) -> bool:
        """Look once.

        :raises BlueGreenError: (as a failed task) at the deadline, or at once for a wrong host key or a
            cloud-init that failed.
        """
        droplet = Droplet.model_validate(self.droplet)
        context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
        with failures_reported(context):
            app = load_app(self.app_id)
            hook = DropletHook.of(droplet, app)
            try:
                status = hook.run(["cloud-init", "status"]).stdout
            except DropletUnreachableError as error:
                self.log.info("not yet: %s", error)
                self._deadline.check(app.timeouts.boot, error)
                return False
            finally:
                hook.close()
            if "error" in status:
                raise BlueGreenError(
                    f"cloud-init failed on {droplet.label}; read /var/log/cloud-init-output.log there"
                )
            if "done" in status:
                return True
            self._deadline.check(
                app.timeouts.boot, BlueGreenError(f"cloud-init is not done on {droplet.label}")
            )
            return False
