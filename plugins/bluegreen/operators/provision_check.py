"""Everything that can be known before anything is touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bluegreen.checks.drift import is_as_deployed, runs_config
from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, Severity
from bluegreen.checks.gather.ask_machine import attempt
from bluegreen.checks.gather.expected import expected_config
from bluegreen.checks.proxies import answering
from bluegreen.checks.run import BLOCKING, Check, findings_in
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, FleetError, NothingToDoError
from bluegreen.fleet.joining import strangers
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.hooks.configuration import configuration_of
from bluegreen.hooks.repository import read_repository
from bluegreen.operators.support.asking_fleet import AsksFleet
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.this_run import PLAN_KEY, ThisRun
from bluegreen.release.artifact import artifact_key
from bluegreen.run.nothing_to_do import live_everywhere, live_revision, moved_back
from bluegreen.run.outcome import Outcome
from bluegreen.run.plan import Plan
from bluegreen.source.policy import Age, compare, require_new_enough, require_reversible, resolve
from bluegreen.traffic.agent_answers import GoodRelease, ProxyStatus
from bluegreen.traffic.drain import sessions_on
from bluegreen.traffic.live import color_to_agree_on, good_releases
from bluegreen.traffic.own_switch import is_own_pending
from bluegreen.traffic.reached import not_reached

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet, Fleet


class ProvisionCheckOperator(AsksFleet, LockedOperator):
    """Read the API, every droplet and every proxy; make the run's plan. Changes nothing.

    If the proxies disagree, the DAG's param ``live`` says which color is live.

    :param revision: what is to be deployed; if it is live already, there is nothing to do, unless the DAG's
        param ``force`` is set; templated.
    :param goes_back: whether the run is a rollback. Then, if the proxies disagree and nobody says
        which color is live, it is to be the one from before; there is nothing to do if traffic is back by
        itself; and unless the DAG's param ``revision`` is set, problems of application droplets are only
        warnings, because what they serve counts, and the proxies know that.
    """

    template_fields: Sequence[str] = (*LockedOperator.template_fields, "revision")

    def __init__(self, *, revision: Any = None, goes_back: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.revision = revision
        self.goes_back = goes_back

    def require_seals(self, run: ThisRun) -> None:
        """Make sure that a deploy is of the revision that its first task has found.

        :raises PolicyError: if it is not.
        """
        if self.revision:
            self.seals(run).require_revision(self.revision)

    def act(self, run: ThisRun) -> list[str]:
        """Return the idle droplets' public addresses, and push the :class:`Plan` as XCom ``plan``.

        :raises BlueGreenError: with all reasons, joined, why a deploy cannot start.
        :raises NothingToDoError: if the revision is live already, everywhere, as it would be built and
            configured now, and healthy, or if traffic is back already.
        :raises PolicyError: if the revision may not be deployed as the settings are now; if it is older than
            what is live, or irreversible, and may not be.
        """
        if self.revision:
            # A run that was cleared may have found it when other revisions were allowed.
            read_repository(
                self.app,
                lambda access: resolve(self.app, self.revision, access=access),
                self.proxies().renew_in_time,
            )
        fleet, params = self.read_fleet(goes_back=self.goes_back), run.params
        only_moves = self.goes_back and not params.get("revision")
        if not self.goes_back and (problems := fleet.problems(of=fleet.proxies)):
            raise FleetError("; ".join(problems))
        facts = self._read(fleet)
        plan = self._plan(facts, params, only_moves)
        readable = list(facts.readable.values())
        _refuse_own_switch(run, readable)
        rollbacks = f"bluegreen_rollback__{self.app_id}/"
        if only_moves and not params.get("live") and (back := moved_back(plan, readable, rollbacks)):
            raise NothingToDoError(
                f"traffic is back on {plan.live} already: {back}; to send it to {plan.idle} nevertheless, "
                "set `revision` to a release there",
                Outcome.ALREADY_LIVE,
            )
        may_be_live = self.revision and not params.get("force") and plan.fleet == facts.fleet
        if may_be_live and self._is_live(plan, facts, run.artifact):
            raise NothingToDoError(
                f"every droplet of {plan.live} runs {self.revision[:12]} and is healthy; "
                "set `force` to deploy it again",
                Outcome.ALREADY_LIVE,
            )
        if self.revision and (age := self._age(plan, facts, bool(params.get("allow_older")))):
            older = str(age) if age.is_older else None
            plan = plan.model_copy(update={"older": older, "irreversible": age.irreversible})
        for warning in plan.warnings:
            self.log.warning("%s", warning)
        self.log.info(
            "live is %s, idle is %s: %s",
            plan.live or "nothing yet",
            plan.idle,
            ", ".join(droplet.label for droplet in plan.idle_droplets),
        )
        # Airflow maps over return values only: the addresses are returned, and the plan is pushed.
        run.push(PLAN_KEY, plan.model_dump(mode="json"))
        self.seals(run).seal_plan(self.revision, plan)
        return [str(droplet.public) for droplet in plan.idle_droplets]

    def _read(self, fleet: Fleet) -> Facts:
        """Return what is known of a fleet; a rollback leaves out what no deploy has reached yet.

        :raises FleetError: if nothing would be left.
        """
        statuses, servers = self.ask(fleet)
        if self.goes_back:
            known = without_the_new(fleet, statuses)
            for droplet in set(fleet.droplets) - set(known.droplets):
                self.log.warning("%s is left out: no deploy has reached it yet", droplet.label)
            fleet, statuses = known, {one: statuses[one] for one in known.proxies}
            if problems := fleet.problems(of=fleet.proxies):
                raise FleetError("; ".join(problems))
        return self.facts_of(fleet, statuses, servers)

    def _plan(self, facts: Facts, params: Mapping[str, Any], only_moves: bool) -> Plan:
        """Make the plan.

        :param params: the run's parameters; ``live`` and ``i_know`` count where the proxies disagree.
        :raises BlueGreenError: with all reasons, joined, why a deploy cannot start.
        """
        if _errors(facts, [answering]):
            # Who is idle is not known then, so every droplet's problem may matter.
            raise BlueGreenError("; ".join(map(_line, _errors(facts))))
        readable, fleet = facts.readable, facts.fleet
        live = color_to_agree_on(
            readable,
            Color(params["live"]) if params.get("live") else None,
            goes_back=self.goes_back,
            i_know=bool(params.get("i_know")),
        )
        facts = replace(facts, chosen=live)
        idle = live.other if live else next(iter(readable.values())).idle or Color.BLUE
        found, others = (
            _errors(replace(facts, all_needed=True)),
            {one.name for one in fleet.color(idle.other)},
        )
        problems = [_line(one) for one in found if one.subject not in others]
        warnings = [f"idle: {problem}" for problem in problems]
        if not self.goes_back:
            judged = facts.joining
            problems += [str(one) for one in judged.refused]
            warnings += [str(one) for one in judged.left_out]
            fleet = judged.for_deploy(fleet)
        if problems and not only_moves:
            raise BlueGreenError("; ".join(problems))
        serving = {one.name for one in fleet.color(live)} if live else set()
        warnings += [f"live: {_line(one)}" for one in found if one.subject in serving]
        good = _last_good(idle, readable.values())
        return Plan(
            live=live,
            idle=idle,
            fleet=fleet,
            warnings=tuple(
                warnings
                + [str(one.unacknowledged_revert) for one in readable.values() if one.unacknowledged_revert]
            ),
            counters={name: status.counters[live] for name, status in readable.items()} if live else {},
            good=good,
            irreversible=_irreversible(live, readable.values()) if self.goes_back else None,
            perl_key=_perl_key(facts, fleet.color(idle)),
            in_use=_in_use(facts),
            rendered=not self.goes_back and self._is_rendered(facts),
            drained=sessions_on(idle, readable.values()) == 0,
        )

    def _is_rendered(self, facts: Facts) -> bool:
        """Whether ``render_and_reload`` would find nothing to do on any of the proxies that it changes."""
        statuses = facts.readable
        return (
            facts.live is not None
            and statuses.keys() == self.held_lock.tokens.keys()
            and all(one.consistent and one.live is facts.live for one in statuses.values())
            # The task also notes on each proxy which proxies a deploy has reached.
            and all(one.reached is not None for one in statuses.values())
            and runs_config(replace(facts, config=attempt(lambda: expected_config(facts))))
        )

    def _is_live(self, plan: Plan, facts: Facts, artifact: str | None) -> bool:
        """Whether everything that this run would build, deliver and write is live already."""
        live = live_everywhere(plan, self.revision, facts.readable.values(), facts.seen)
        if live is None:
            return False
        key = artifact_key(self.app, self.revision, plan.perl_key, artifact)
        built = ArtifactStore.of(self.app).built(key)
        if built is None or built.record.release != live.release:
            return False
        if configuration_of(self.app, built.texts)["digest"] != live.configuration:
            return False
        return is_as_deployed(replace(facts, config=attempt(lambda: expected_config(facts))))

    def _age(self, plan: Plan, facts: Facts, forced: bool) -> Age | None:
        """Return how the revision compares with what is live, if anything is.

        :raises PolicyError: if it is older, or irreversible, and may not be.
        """
        if plan.live is None:
            return None
        live = live_revision(plan.live, plan.fleet, facts.readable.values(), facts.seen)
        age = read_repository(
            self.app,
            lambda access: compare(self.app, self.revision, live, access=access),
            self.proxies().renew_in_time,
        )
        require_new_enough(self.app, self.revision, age, forced=forced)
        require_reversible(self.app, self.revision, age)
        return age


def _refuse_own_switch(run: ThisRun, statuses: Iterable[ProxyStatus]) -> None:
    """This task may be cleared, and run again in the bake."""
    if any(is_own_pending(status, run.holder) for status in statuses):
        raise BlueGreenError(
            "this run has moved traffic already, and cannot begin again before that is decided; "
            "trigger a new run"
        )


def without_the_new(fleet: Fleet, statuses: Mapping[Droplet, ProxyStatus | BlueGreenError]) -> Fleet:
    """Leave out what no deploy has reached yet: it must not stand in the way of going back."""
    readable = [status for status in statuses.values() if isinstance(status, ProxyStatus)]
    return fleet.without([*not_reached(statuses), *strangers(fleet, readable)])


def _last_good(color: Color, statuses: Iterable[ProxyStatus]) -> GoodRelease | None:
    """Return what was confirmed there last; proxies that are new do not know it."""
    known = good_releases(color, statuses)
    return known[0] if known and all(one == known[0] for one in known) else None


def _irreversible(live: Color | None, statuses: Iterable[ProxyStatus]) -> str | None:
    """Return why there is no way back from the live release, as any proxy knows that."""
    known = (one.confirmed for one in statuses if one.confirmed and one.confirmed.color is live)
    return next((one.irreversible for one in known if one.irreversible), None)


def _perl_key(facts: Facts, idle: Sequence[Droplet]) -> str:
    """Return what a release is built for: perl, architecture and C library of the first idle droplet."""
    known = {droplet.name: server for droplet, server in facts.read_servers()}
    return known[idle[0].name].perl_key if idle and idle[0].name in known else ""


def _in_use(facts: Facts) -> tuple[str, ...]:
    """Return the releases that droplets run, or that any proxy knows as confirmed last, on either color."""
    running = {server.current for _, server in facts.read_servers() if server.current}
    confirmed = {good.release for one in facts.readable.values() for good in one.good.values()}
    return tuple(sorted(running | confirmed))


def _errors(facts: Facts, checks: Sequence[Check] = BLOCKING) -> list[Finding]:
    return [one for one in findings_in(facts, checks) if one.severity is Severity.ERROR]


def _line(finding: Finding) -> str:
    """Return what is wrong, with its subject unless that begins it."""
    subject, what = finding.subject, finding.what
    return what if what.startswith(subject) else f"{subject}: {what}"
