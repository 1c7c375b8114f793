"""What a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

from airflow.sdk import SkipMixin
from airflow.sdk.bases.xcom import BaseXCom

from agent.protocol import Code, Verb
from bluegreen.checks.gather.ask_machine import ask_app_server
from bluegreen.errors import AgentRefusedError, BlueGreenError, DropletRefusedError, PolicyError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.droplet import (
    CONNECTIONS_AT_ONCE,
    DropletUnreachableError,
)
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import on_all
from bluegreen.operators.support.claims import refusals_explained
from bluegreen.operators.support.holding_lock import PlannedOperator
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.operators.support.this_run import PREVIOUS_KEY, REVISION_KEY, ThisRun
from bluegreen.release.release import pairing
from bluegreen.run.contract import contracted_since, irreversible_since, moment_of, not_found_good
from bluegreen.run.ledger import RECORDS_READ, Record, read_ledger
from bluegreen.run.outcome import Outcome
from bluegreen.run.plan import Plan
from bluegreen.run.previous import (
    Healthy,
    HealthyPairing,
    PreviousRelease,
    last_live,
    later_run_on,
    named_release,
    pairing_on,
    running_release,
)
from bluegreen.settings.policy import Demand

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.traffic.agent_answers import GoodRelease

# By droplet, the pairing that its service was started with; None if that is not certain.
Started = Mapping[str, str | None]


class PreviousReleaseOperator(PlannedOperator, SkipMixin):
    """Find what to go back to: the DAG's param ``revision``, or else the idle color's last good release.

    That is what was confirmed there last: a release with its configuration and its unit. It need not run: a
    later one may have been started, and rejected, even of the same revision. Where nothing is known to have
    been confirmed, what runs there counts.

    The idle droplets become this run's first: what a dead run left at work there would start another release
    under the traffic.

    :param activation: ids of the tasks to skip if the idle color runs that revision already.
    """

    inherits_from_skipmixin = True

    def __init__(self, *, activation: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activation

    def act(self, run: ThisRun) -> list[str]:
        """Return the public addresses of the droplets to start it on, and push its revision.

        The :class:`PreviousRelease` is XCom ``previous``.

        :raises BlueGreenError: if there is nothing to go back to; the text says which droplet lacks what.
        :raises PolicyError: if it was never live.
        """
        plan = self.run_plan
        if plan.live is None:
            raise BlueGreenError("nothing is live, so there is nothing to roll back from")
        started = self._claim(plan.idle_droplets)
        asked_for = run.params.get("revision")
        previous = self._find(plan, asked_for, started)
        self._require_was_live(plan, previous, named=bool(asked_for))
        self._require_way_back(plan, previous, named=bool(asked_for), i_know=bool(run.params.get("i_know")))
        revision, found = previous.revision, previous.model_dump(mode="json")
        run.push(REVISION_KEY, revision)
        run.push(PREVIOUS_KEY, found)
        self.seals(run).seal_revision(revision)
        self.seals(run).seal_result(revision, found)
        if not previous.is_running:
            return [str(droplet.public) for droplet in plan.idle_droplets]
        self.log.info("%s runs %s", plan.idle, revision)
        # The skip ends the task without a return value.
        run.push(BaseXCom.XCOM_RETURN_KEY, [])
        context = run.context
        self.skip(context["ti"], [context["dag"].get_task(task_id) for task_id in self.activation])
        return []

    def _claim(self, droplets: Sequence[Droplet]) -> Started:
        """Make them this run's, all at once; one that SSH does not reach may be healthy nevertheless.

        :return: what the service of each that was reached was started with.
        :raises BlueGreenError: if the lock, or a droplet, is another run's by now.
        """
        proxies = self.proxies()
        proxies.renew()
        with refusals_explained(proxies), ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            answers = list(pool.map(self._claim_one, droplets))
        named = zip(droplets, answers, strict=True)
        return {droplet.name: answer["started"] for droplet, answer in named if answer is not None}

    def _claim_one(self, droplet: Droplet) -> dict[str, Any] | None:
        try:
            with closing(DropletAgentHook.of(droplet, self.app)) as agent:
                return agent.call(Verb.CLAIM, app=self.app.system_name, token=self.held_lock.fencing_token)
        except (AgentRefusedError, DropletUnreachableError, DropletRefusedError) as error:
            if isinstance(error, AgentRefusedError) and error.code in (Code.CLAIMED, Code.BUSY):
                raise
            self.log.warning(
                "%s; if a run that died left a deploy at work there, it may yet restart the app: see "
                "systemctl list-units 'bluegreen-%s-*' there",
                error,
                self.app.system_name,
            )
            return None

    def _require_was_live(self, plan: Plan, previous: PreviousRelease, *, named: bool) -> None:
        """Make sure that a release was live before: judged by a bake, and approved if it had to be.

        A release that was rejected, or taken back, stays on the idle droplets. So does one that was live with
        another configuration. What merely runs there, where nothing is known to have been confirmed, is
        believed if no run is known that failed with it: a proxy that is new knows of none.

        :param named: whether the run's parameter ``revision`` names it.
        :raises PolicyError: if it never was.
        """
        if previous.confirmed:
            return
        revision = previous.revision
        tried = [one for one in self._ledger(plan) if one.revision == revision]
        key = previous.release, previous.configuration
        if any(one.outcome == Outcome.LIVE and (one.release, one.configuration) == key for one in tried):
            return
        if named or tried or self.app.policy.approval is Demand.ALWAYS:
            raise PolicyError(
                f"{revision[:12]} was never live with the configuration {previous.configuration[:12]}, so no "
                "bake has judged it and nobody has approved it; deploy it instead (the parameter emergency "
                "judges it by absolute limits only)"
            )

    def _require_way_back(self, plan: Plan, previous: PreviousRelease, *, named: bool, i_know: bool) -> None:
        """Make sure that the database still has what a release needs, and that it is not known to be bad.

        A ledger that cannot be read keeps no traffic from going back.

        :param named: whether the run's parameter ``revision`` names it.
        :param i_know: whether somebody takes it upon themselves to go back to before an irreversible release.
        :raises BlueGreenError: if a contract has run since that release was live, or an irreversible one was
            live; or if it is irreversible itself, and was not found good.
        """
        why = f"the live release is irreversible: {plan.irreversible}" if plan.irreversible else ""
        try:
            records = self._ledger(plan)
        except BlueGreenError as error:
            self.log.warning(
                "whether a contract, or an irreversible release, came since is unknown: %s", error
            )
            records = []
        bad = not_found_good(records, previous.release, previous.configuration)
        if bad and not named:
            raise BlueGreenError(
                f"{previous.revision[:12]} was not found good when it was live (run {bad.run_id}: "
                f"{bad.outcome}); deploy a good release, or set `revision` to {previous.revision[:12]} to go "
                "back to it nevertheless"
            )
        if not why and (since := irreversible_since(records, previous.release)):
            why = f"an irreversible release was live since (run {since.run_id}): {since.irreversible}"
        if why:
            why = f"{previous.revision[:12]} was last live before that: {why}"
            if not i_know:
                raise BlueGreenError(
                    f"{why}; deploy a release that works with the database as it is, or set `i_know` to go "
                    "back nevertheless"
                )
            self.log.warning("%s", why)
        if contract := contracted_since(records, previous.release):
            raise BlueGreenError(
                f"{previous.revision[:12]} was last live before the contract{moment_of(contract)}, which may "
                "have removed what it needs from the database; deploy a release that works with the database "
                "as it is"
            )

    def _ledger(self, plan: Plan) -> list[Record]:
        proxies = [ProxyHook.of(one, self.app) for one in plan.fleet.proxies]
        return read_ledger(on_all(proxies, lambda proxy: proxy.ledger(RECORDS_READ)).values())

    def _healthy(self, plan: Plan) -> Healthy:
        """Return what was healthy on each idle droplet, and is still there."""
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            answers = list(pool.map(self._healthy_on, plan.idle_droplets))
        return {droplet.name: one for droplet, one in zip(plan.idle_droplets, answers, strict=True)}

    def _healthy_on(self, droplet: Droplet) -> tuple[HealthyPairing, ...]:
        answer = ask_app_server(self.app, droplet).answer
        if isinstance(answer, BlueGreenError):
            raise answer
        return answer.activated

    def _find(self, plan: Plan, asked_for: str | None, started: Started) -> PreviousRelease:
        """Return what to go back to.

        :param asked_for: a revision, or its beginning.
        :param started: by droplet that was reached, the pairing that its service was started with.
        """
        good, trouble = plan.good, None
        try:
            running = self._running(plan)
        except BlueGreenError as error:
            if not (asked_for or good) or error.transient:
                raise
            running, trouble = "", error
        try:
            if good and good.revision.startswith(asked_for or ""):
                previous = self._confirmed(plan, good, running, started)
            else:
                healthy = self._healthy(plan)
                previous = (
                    self._named(plan, asked_for, healthy)
                    if asked_for
                    else running_release(started, healthy, plan.idle)
                )
                previous = self._startable(plan, previous, healthy, running, started)
            if previous.is_running:
                return previous
        except BlueGreenError as error:
            if asked_for or not trouble:
                raise
            raise BlueGreenError(f"{trouble}; {error}") from None
        what = running or "nothing healthy"
        self.log.info(
            "%s: %s is started on all droplets", trouble or f"{plan.idle} runs {what}", previous.release
        )
        return previous

    def _confirmed(self, plan: Plan, good: GoodRelease, running: str, started: Started) -> PreviousRelease:
        """Return what was confirmed last. Droplets that were replaced since get it from the artifact store.

        :raises BlueGreenError: if a droplet cannot start it, nor get it.
        """
        now = self._pairings_now(plan, good.release, good.configuration)
        previous = PreviousRelease.of_good(good, now)
        if running == previous.revision and self._run(plan, previous, started):
            return previous.model_copy(update={"is_running": True})
        healthy = self._healthy(plan)
        previous = previous.on_replaced(now, healthy)
        self._require_stored(previous)
        return self._startable(plan, previous, healthy, running, started)

    def _named(self, plan: Plan, wanted: str, healthy: Healthy) -> PreviousRelease:
        """Return the release of a revision that was live, on droplets some of which may not have it any more.

        :param wanted: a revision, or its beginning.
        :raises BlueGreenError: if there is none, or more than one, or if the store does not have it.
        """
        try:
            return named_release(wanted, healthy, plan.idle)
        except BlueGreenError:
            live = last_live(wanted, self._ledger(plan))
            if live is None or not live.release or not live.configuration:
                raise
        now = self._pairings_now(plan, live.release, live.configuration)
        previous = PreviousRelease.of_live(live, now, healthy)
        self._require_stored(previous)
        return previous

    def _pairings_now(self, plan: Plan, release: str, configuration: str) -> dict[str, str]:
        """Return by idle droplet the pairing that the settings of now give."""
        return {
            one.name: pairing(self.app, release, configuration, str(one.private)).digest
            for one in plan.idle_droplets
        }

    def _require_stored(self, previous: PreviousRelease) -> None:
        """Make sure that droplets which do not have a release get it from the artifact store.

        :raises BlueGreenError: if they do not.
        """
        if not previous.from_store:
            return
        store = ArtifactStore.of(self.app, self.proxies().renew_in_time)
        names = ", ".join(previous.from_store)
        try:
            stored_release(store, previous.release, previous.configuration)
        except BlueGreenError as error:
            gone = f"{names}: {previous.revision[:12]} is not there any more"
            raise BlueGreenError(f"{gone}, and {error}; deploy it instead") from None
        self.log.warning("%s gets %s from the artifact store", names, previous.release)

    def _startable(
        self, plan: Plan, previous: PreviousRelease, healthy: Healthy, running: str, started: Started
    ) -> PreviousRelease:
        """Return it with the answer whether it runs already.

        :raises BlueGreenError: if it does not, and a droplet cannot start it.
        """
        if running == previous.revision and self._run(plan, previous, started):
            return previous.model_copy(update={"is_running": True})
        self._require_startable(plan, previous, healthy)
        return previous

    def _run(self, plan: Plan, previous: PreviousRelease, started: Started) -> bool:
        """Return whether the idle droplets run exactly this: a later one may be of the same revision."""
        unreached = previous.pairings.keys() - started.keys()
        for name in sorted(unreached):
            self.log.warning(
                "%s answers with %s, and SSH does not reach it, so its configuration is not known",
                name,
                previous.revision[:12],
            )
        if unreached and (later := later_run_on(plan.idle, self._ledger(plan))):
            self.log.warning("%s may have started something else there: %s", later.run_id, later.outcome)
            return False
        return all(previous.pairings[name] == pairing for name, pairing in started.items())

    def _require_startable(self, plan: Plan, previous: PreviousRelease, healthy: Healthy) -> None:
        """Make sure that each idle droplet can start it, and that HAProxy finds it there.

        :raises BlueGreenError: naming the droplet and what stands in the way.
        """
        for droplet in plan.idle_droplets:
            if droplet.name in previous.from_store:
                continue
            known = pairing_on(previous, droplet.name, healthy)
            if known.address != str(droplet.private):
                raise BlueGreenError(
                    f"{droplet.name}: {previous.revision[:12]} listened on {known.address}, and the private "
                    f"address is {droplet.private} now; deploy it instead"
                )
            if known.port != self.app.server.port:
                raise BlueGreenError(
                    f"{droplet.name}: {previous.revision[:12]} listened on port {known.port}, and HAProxy "
                    f"looks for it on {self.app.server.port} now (server.port): set that back, or deploy it "
                    "instead"
                )

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
