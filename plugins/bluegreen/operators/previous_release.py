"""What a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import SkipMixin
from airflow.sdk.bases.xcom import BaseXCom

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import CommandError, DropletHook
from bluegreen.hooks.load_balancer import LoadBalancerHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.plan import Plan
from bluegreen.release import DropletFacts, facts_script, parse_facts

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.fleet import Droplet

REVISION_KEY = "revision"


class PreviousReleaseOperator(BlueGreenOperator, SkipMixin):
    """Find the revision to go back to: the DAG's param ``revision``, or else what the idle color runs.

    :param plan: the run's :class:`Plan`; templated.
    :param activation: ids of the tasks to skip if the idle color runs that revision already.
    """

    inherits_from_skipmixin = True
    template_fields: Sequence[str] = ("plan",)

    def __init__(self, *, plan: Any, activation: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.activation = activation

    def act(self, context: Context) -> list[str]:
        """Return the public addresses of the droplets that do not run it, and push it as XCom ``revision``.

        :raises BlueGreenError: if there is nothing to go back to; the text says which droplet lacks what.
        """
        plan, ti = Plan.model_validate(self.plan), context["ti"]
        if plan.live is None:
            raise BlueGreenError("nothing is live, so there is nothing to roll back from")
        if wanted := context["params"].get("revision"):
            facts = {droplet: self._facts(droplet) for droplet in plan.idle_droplets}
            revision = _whole(wanted, plan, facts)
            to_activate = [
                droplet
                for droplet, fact in facts.items()
                if fact.revision != revision or fact.service != "active"
            ]
        else:
            revision, to_activate = self._running(plan), []
        ti.xcom_push(key=REVISION_KEY, value=revision)
        addresses = [str(droplet.public) for droplet in to_activate]
        if not addresses:
            self.log.info("%s runs %s", plan.idle, revision)
            # The skip ends the task without a return value.
            ti.xcom_push(key=BaseXCom.XCOM_RETURN_KEY, value=addresses)
            self.skip(ti, [context["dag"].get_task(task_id) for task_id in self.activation])
        return addresses

    def _facts(self, droplet: Droplet) -> DropletFacts:
        with DropletHook.of(droplet, self.app) as hook:
            result = hook.run_script(facts_script(app=self.app_id))
        if result.status != 0:
            raise CommandError(f"{droplet.label}: {result.stderr.strip()[-200:]}", result.status)
        return parse_facts(result.stdout)

    def _running(self, plan: Plan) -> str:
        """Return the one revision that the idle color runs, asked by every load balancer."""
        found: dict[str, str] = {}
        problems = []
        for load_balancer in plan.fleet.load_balancers:
            hook = LoadBalancerHook.of(load_balancer, self.app)
            for droplet in plan.idle_droplets:
                answer = hook.probe(
                    address=str(droplet.private),
                    port=self.app.server.port,
                    path=self.app.health.path,
                    timeout=5,
                )
                if answer.status == 200 and answer.revision:
                    found[droplet.name] = answer.revision
                else:
                    problems.append(
                        f"{droplet.label} is not healthy: {answer.error or f'status {answer.status}'}"
                    )
        if len(set(found.values())) > 1:
            problems.append("the idle droplets run different revisions: " + str(found))
        if problems:
            raise BlueGreenError(f"{plan.idle} cannot take the traffic: {'; '.join(problems)}")
        return next(iter(found.values()))


def _whole(wanted: str, plan: Plan, facts: dict[Droplet, DropletFacts]) -> str:
    """Return the one revision that begins like this and is built on every idle droplet."""
    on_all = set.intersection(*(set(fact.releases) for fact in facts.values()))
    found = [revision for revision in on_all if revision.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(revision[:12] for revision in on_all)) or "none"
    how_many = "more than one release" if found else "no release"
    raise BlueGreenError(
        f"{how_many} on all droplets of {plan.idle} begins with {wanted}; there are: {there}. "
        "Deploy it instead if it is to be built again"
    )
