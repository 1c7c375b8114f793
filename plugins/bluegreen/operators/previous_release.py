"""What a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import SkipMixin
from airflow.sdk.bases.xcom import BaseXCom

from agent.protocol import Code, Verb
from bluegreen.checks.gather.ask_machine import ask_app_server
from bluegreen.errors import AgentRefusedError, BlueGreenError, DropletRefusedError, PolicyError
from bluegreen.hooks.droplet import (
    CONNECTIONS_AT_ONCE,
    DropletUnreachableError,
)
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import on_all
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.operators.support.this_run import PREVIOUS_KEY, REVISION_KEY, ThisRun
from bluegreen.run.ledger import read_ledger
from bluegreen.run.outcome import Outcome
from bluegreen.run.plan import Plan
from bluegreen.run.previous import Activated, PreviousRelease, previous_release
from bluegreen.settings.policy import Demand

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet

# Of the ledger; an app keeps fewer releases than it has had runs since.
RECORDS_READ = 1000


class PreviousReleaseOperator(PlannedOperator, SkipMixin):
    """Find the revision to go back to: the DAG's param ``revision``, or else the idle color's last good one.

    That is the one that was confirmed there last. It need not run: a later one may have been built, and
    rejected. Where none is known to have been confirmed, what runs there counts.

    The idle droplets become this run's first: what a dead run left at work there would start another release
    under the traffic.

    :param activation: ids of the tasks to skip if the idle color runs that revision already.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, activation: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def act(self, run: ThisRun) -> list[str]:
        """Return the public addresses of the droplets that do not run it, and push it as XCom ``revision``.

        The :class:`PreviousRelease` that they are to start is XCom ``previous``.

        :raises BlueGreenError: if there is nothing to go back to; the text says which droplet lacks what.
        :raises PolicyError: if it was never live.
        """
        plan = self.run_plan
        if plan.live is None:
            raise BlueGreenError("nothing is live, so there is nothing to roll back from")
        self._claim(plan.idle_droplets)
        asked_for = run.params.get("revision")
        revision, previous = self._find(plan, asked_for)
        self._require_was_live(plan, revision, named=bool(asked_for))
        run.push(REVISION_KEY, revision)
        self.seals(run).seal_revision(revision)
        addresses = [str(droplet.public) for droplet in plan.idle_droplets] if previous else []
        if previous:
            started = previous.model_dump(mode="json")
            run.push(PREVIOUS_KEY, started)
            self.seals(run).seal_result(revision, started)
        else:
            self.log.info("%s runs %s", plan.idle, revision)
            # The skip ends the task without a return value.
            run.push(BaseXCom.XCOM_RETURN_KEY, addresses)
            context = run.context
            self.skip(context["ti"], [context["dag"].get_task(task_id) for task_id in self.activation])
        return addresses

    def _claim(self, droplets: Sequence[Droplet]) -> None:
        """Make them this run's, all at once; one that SSH does not reach may be healthy nevertheless.

        :raises BlueGreenError: if the lock, or a droplet, is another run's by now.
        """
        proxies = self.proxies()
        proxies.renew()
        with refusals_explained(proxies), ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            # As a list, because errors come with the results.
            list(pool.map(self._claim_one, droplets))

    def _claim_one(self, droplet: Droplet) -> None:
        try:
            with closing(DropletAgentHook.of(droplet, self.app)) as agent:
                agent.call(Verb.CLAIM, app=self.app.system_name, token=self.held_lock.fencing_token)
        except (AgentRefusedError, DropletUnreachableError, DropletRefusedError) as error:
            if isinstance(error, AgentRefusedError) and error.code in (Code.CLAIMED, Code.BUSY):
                raise
            self.log.warning(
                "%s; if a run that died left a deploy at work there, it may yet restart the app: see "
                "systemctl list-units 'bluegreen-%s-*' there",
                error,
                self.app.system_name,
            )

    def _require_was_live(self, plan: Plan, revision: str, *, named: bool) -> None:
        """Make sure that a release was live before: judged by a bake, and approved if it had to be.

        A release that was rejected, or taken back, stays on the idle droplets. What merely runs there, where
        nothing is known to have been confirmed, is believed if no run is known that failed with it: a
        proxy that is new knows of none.

        :param named: whether the run's parameter ``revision`` names it.
        :raises PolicyError: if it never was.
        """
        if revision == plan.good:
            return
        proxies = [ProxyHook.of(one, self.app) for one in plan.fleet.proxies]
        found = read_ledger(on_all(proxies, lambda proxy: proxy.ledger(RECORDS_READ)).values())
        tried = [one for one in found if one.revision == revision]
        was_live = any(one.outcome == Outcome.LIVE for one in tried)
        # The run that made it live may have died before it could report so.
        if was_live or any(one.live_revision == revision for one in found):
            return
        if named or tried or self.app.policy.approval is Demand.ALWAYS:
            raise PolicyError(
                f"{revision[:12]} was never live, so no bake has judged it and nobody has approved it; "
                "deploy it instead (the parameter emergency judges it by absolute limits only)"
            )

    def _activated(self, droplet: Droplet) -> Activated:
        """Return the releases that are on a droplet and were healthy there."""
        answer = ask_app_server(self.app, droplet).answer
        if isinstance(answer, BlueGreenError):
            raise answer
        return {one: known for one, known in answer.activated.items() if one in answer.releases}

    def _find(self, plan: Plan, asked_for: str | None) -> tuple[str, PreviousRelease | None]:
        """Return the revision to go back to, and its release if that has to be started first."""
        wanted, trouble = asked_for or plan.good, None
        try:
            running = self._running(plan)
        except BlueGreenError as error:
            if wanted is None or error.transient:
                raise
            running, trouble = "", error
        if wanted is None or running.startswith(wanted):
            return running, None
        try:
            names = [droplet.name for droplet in plan.idle_droplets]
            with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
                activated = dict(zip(names, pool.map(self._activated, plan.idle_droplets), strict=True))
            previous = previous_release(wanted, activated, plan.idle)
        except BlueGreenError:
            if asked_for or not trouble:
                raise
            raise trouble from None
        self.log.info(
            "%s: %s is started on all droplets", trouble or f"{plan.idle} runs {running}", previous.release
        )
        if len(set(previous.configurations.values())) > 1:
            self.log.warning(
                "%s was healthy with different configurations: %s", previous.release, previous.configurations
            )
        return previous.revision, previous

    def _running(self, plan: Plan) -> str:
        """Return the one revision that the idle color runs, where every proxy takes it for healthy.

        HAProxy has its own port and path to ask: those of the last deploy, whatever the settings say now.
        """
        found: dict[str, str] = {}
        problems = []
        proxies = [ProxyHook.of(proxy, self.app) for proxy in plan.fleet.proxies]
        for running, trouble in on_all(proxies, lambda proxy: self._seen_by(proxy, plan)).values():
            found |= running
            problems += trouble
        if len(set(found.values())) > 1:
            problems.append("the idle droplets run different revisions: " + str(found))
        if problems:
            raise BlueGreenError(f"{plan.idle} cannot take the traffic: {'; '.join(problems)}")
        return next(iter(found.values()))

    def _seen_by(self, proxy: ProxyHook, plan: Plan) -> tuple[dict[str, str], list[str]]:
        """Return the idle droplets' revisions by name, and their problems, as one proxy sees them."""
        known = {server.name: server for server in proxy.status().servers[plan.idle]}
        problems, asked = [], []
        for droplet in plan.idle_droplets:
            server = known.get(droplet.name)
            if server is not None and server.up:
                asked.append((droplet, (str(server.address), server.port)))
            else:
                check = server.check if server else f"{proxy.name} does not know it"
                problems.append(f"{droplet.label} is not healthy: {check}")
        servers = [server for _, server in asked]
        answers = proxy.probe_all(servers, **self.app.health_question) if servers else []
        found = {}
        for (droplet, _), answer in zip(asked, answers, strict=True):
            if answer.revision:
                found[droplet.name] = answer.revision
            else:
                problems.append(f"{droplet.label} does not answer: {answer.error or answer.status}")
        return found, problems
