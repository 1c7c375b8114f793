"""Is a droplet healthy, as the proxies see it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.support.failures import failures_reported
from bluegreen.operators.support.links import DropletLink
from bluegreen.polling import Deadline
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.good_answer import advice, allowed, is_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class HealthCheckSensor(BaseSensorOperator):
    """Wait for good answers in a row from one droplet, asked by every proxy.

    :param app_id: which app.
    :param lock: the run's :class:`HeldLock`; templated.
    :param plan: the run's :class:`Plan`; templated.
    :param revision: what must answer; templated.
    :param ip: public address of the droplet; templated.
    """

    template_fields: Sequence[str] = ("lock", "plan", "revision", "ip")
    operator_extra_links = (DropletLink(),)

    def __init__(self, *, app_id: str, lock: Any, plan: Any, revision: Any, ip: Any, **kwargs: Any) -> None:
        super().__init__(mode="poke", **kwargs)
        self.lock = lock
        self.app_id = app_id
        self.plan = plan
        self.revision = revision
        self.ip = ip
        self._deadline = Deadline()
        self._good_in_a_row = 0

    def poke(self, context: Context) -> bool:
        """Ask once.

        :raises BlueGreenError: (as a failed task) at the deadline, with the last answer.
        """
        with failures_reported(context):
            app = load_app(self.app_id)
            plan = Plan.model_validate(self.plan)
            droplet = plan.idle_droplet(self.ip)
            context["droplet_name"] = droplet.label  # type: ignore[typeddict-unknown-key]
            proxies = self._proxies(app)
            proxies.renew_in_time()
            problem = self._problem(app, proxies, droplet)
            if problem is None:
                self._good_in_a_row += 1
                return self._good_in_a_row >= app.health.healthy_threshold
            self._good_in_a_row = 0
            self.log.info("not yet: %s", problem)
            self._deadline.check(
                app.health.timeout, BlueGreenError(f"{droplet.label} is not healthy: {problem}")
            )
            return False

    def _problem(self, app: App, proxies: ProxiesHook, droplet: Droplet) -> str | None:
        for proxy in proxies.members:
            try:
                address = str(droplet.private)
                answer = proxy.probe(address=address, port=app.server.port, **app.health_question)
            except DropletUnreachableError as error:
                # One lost connection to a proxy says nothing about the release.
                return str(error)
            if answer.error:
                return f"{proxy.name} gets no answer: {answer.error}"
            statuses = app.good_statuses(app.health.path)
            if not is_good(answer.status, statuses):
                return (
                    f"{proxy.name} gets status {answer.status} from {app.health.path} (asked "
                    f"{app.traffic.asked}), allowed are {allowed(statuses)}{advice(answer.status)}"
                )
            if answer.revision != self.revision:
                return f"{proxy.name} gets revision {answer.revision} instead of {self.revision}"
        return None

    def _proxies(self, app: App) -> ProxiesHook:
        """Connect once for all looks of this sensor."""
        if not hasattr(self, "_hook"):
            self._hook = ProxiesHook.holding(app, HeldLock.model_validate(self.lock))
        return self._hook
