"""Are the idle droplets healthy, as the proxies see them?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import on_all
from bluegreen.operators.support.failures import failures_reported
from bluegreen.operators.support.holding_lock import HoldsLock
from bluegreen.operators.support.this_run import ThisRun, left_as
from bluegreen.polling import Deadline
from bluegreen.run.plan import Plan
from bluegreen.traffic.good_answer import advice, allowed, is_good

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.traffic.agent_answers import Probe


class HealthCheckSensor(HoldsLock, BaseSensorOperator):
    """Wait until every idle droplet has given good answers in a row to every proxy.

    Each look asks each proxy once, for all droplets together.

    :param app_id: which app.
    :param lock: the run's :class:`HeldLock`; templated.
    :param plan: the run's :class:`Plan`; templated.
    :param revision: what must answer; templated.
    """

    template_fields: Sequence[str] = ("lock", "plan", "revision")

    def __init__(self, *, app_id: str, lock: Any, plan: Any, revision: Any, **kwargs: Any) -> None:
        super().__init__(mode="poke", **kwargs)
        self.lock = lock
        self.app_id = app_id
        self.plan = plan
        self.revision = revision
        self._deadline = Deadline()
        self._good_in_a_row: dict[str, int] = defaultdict(int)
        self._hook: ProxiesHook | None = None

    def poke(self, context: Context) -> bool:
        """Ask every proxy once.

        :raises PolicyError: (as a failed task) if revision or plan are not what this run's own tasks found.
        :raises BlueGreenError: (as a failed task) at the deadline, with every droplet that is not healthy.
        """
        with failures_reported(context):
            plan = left_as(Plan, self.plan)
            if self._hook is None:
                self._require_seals(ThisRun(context), plan)
                # One connection to each proxy for all looks.
                self._hook = self.proxies()
            self._hook.renew_in_time()
            problems = self._problems(self._hook, plan.idle_droplets)
            for droplet in plan.idle_droplets:
                self._good_in_a_row[droplet.name] += 1
            for droplet in problems:
                self._good_in_a_row[droplet.name] = 0
            if problems:
                missing = _described(problems)
                self.log.info("not yet: %s", missing)
                self._deadline.check(self.app.health.timeout, BlueGreenError(missing))
            enough = self.app.health.healthy_threshold
            return all(self._good_in_a_row[droplet.name] >= enough for droplet in plan.idle_droplets)

    def _require_seals(self, run: ThisRun, plan: Plan) -> None:
        self.seals(run).require_revision(self.revision)
        self.seals(run).require_plan(self.revision, plan)

    def _problems(self, hook: ProxiesHook, droplets: Sequence[Droplet]) -> dict[Droplet, str]:
        """Return the droplets that are not healthy, each with the reason that a proxy gives."""
        servers = [(str(droplet.private), self.app.server.port) for droplet in droplets]

        def ask(proxy: ProxyHook) -> list[str | None]:
            try:
                answers = proxy.probe_all(servers, **self.app.health_question)
            except DropletUnreachableError as error:
                # One lost connection to a proxy says nothing about the release.
                return [str(error)] * len(servers)
            return [self._problem(proxy.name, answer) for answer in answers]

        found: dict[Droplet, str] = {}
        for problems in on_all(hook.members, ask).values():
            for droplet, problem in zip(droplets, problems, strict=True):
                if problem:
                    found.setdefault(droplet, problem)
        return found

    def _problem(self, proxy: str, answer: Probe) -> str | None:
        if answer.error:
            return f"{proxy} gets no answer: {answer.error}"
        path, statuses = self.app.health.path, self.app.good_statuses(self.app.health.path)
        if not is_good(answer.status, statuses):
            return (
                f"{proxy} gets status {answer.status} from {path} (asked {self.app.traffic.asked}), "
                f"allowed are {allowed(statuses)}{advice(answer.status)}"
            )
        if answer.revision != self.revision:
            return f"{proxy} gets revision {answer.revision} instead of {self.revision}"
        return None


def _described(problems: Mapping[Droplet, str]) -> str:
    """Name every droplet; those with the same problem together."""
    droplets: dict[str, list[str]] = defaultdict(list)
    for droplet, problem in problems.items():
        droplets[problem].append(droplet.label)
    return "; ".join(
        f"{', '.join(labels)} {'is' if len(labels) == 1 else 'are'} not healthy: {problem}"
        for problem, labels in droplets.items()
    )
