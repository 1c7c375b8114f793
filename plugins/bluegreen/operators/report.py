"""The last word of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.lifecycle_commands import WARNINGS_KEY
from bluegreen.operators.lock import FOUND_KEY
from bluegreen.operators.stop_idle import STOPS_AT_KEY
from bluegreen.operators.support import metrics
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.failures import ERROR_KEY, NOTHING_TO_DO_KEY, POLICY_KEY
from bluegreen.operators.support.records import begun, ended, revision_of
from bluegreen.operators.support.seals import approver_of, older_than_live
from bluegreen.operators.support.states import found_plan, holder_of, is_dry_run, task_states, told
from bluegreen.release.lifecycle_commands import Moment
from bluegreen.run.outcome import Facts, Outcome, cause_of, may_have_switched, message_of, outcome_of
from bluegreen.run.plan import HeldLock
from bluegreen.traffic.agent_answers import PendingSwitch, ProxyStatus
from bluegreen.traffic.drain import Drain, sessions_on
from bluegreen.traffic.live import is_decided, live_color
from bluegreen.traffic.own_switch import holds_lock, is_kept, is_taken_back, waiting_switch
from bluegreen.traffic.preview_access import ways_to_look
from bluegreen.validation.rests_on import RestsOn

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color
    from bluegreen.run.ledger import Record

REPORT_KEY = "report"
# What asks the app's policy.
ASKING = (
    *("resolve_ref", "previous_release", "provision_check", "approval", "before_switch"),
    "switch_traffic",
)


@dataclass(frozen=True)
class End:
    """What the proxies say at the end of a run.

    :param live: who is live; only if ``live_known``, which takes that they can be asked, and agree.
    :param taken_back: whether a switch of this run was taken back.
    :param kept: whether a switch of this run is confirmed.
    :param locked: whether the run has its lock.
    :param still_running: requests in progress on the color that is not live.
    :param trouble: what went wrong in asking, or in ending a switch that nobody had confirmed.
    :param statuses: everything that they say, by name.
    """

    live: Color | None = None
    live_known: bool = False
    taken_back: bool = False
    kept: bool = False
    locked: bool = False
    still_running: int = 0
    trouble: str | None = None
    statuses: Mapping[str, ProxyStatus] = field(default_factory=dict)


class ReportOperator(BlueGreenOperator):
    """Say in one line how the run ended, record it, release the lock, and fail the run unless it ended well.

    :param subject: what the run was to do; templated.
    :param needs_confirmation: whether only a confirmed switch is a good end; otherwise any run without a
        failed task is.
    """

    template_fields = ("subject",)

    def __init__(self, *, subject: str, needs_confirmation: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.subject = subject
        self.needs_confirmation = needs_confirmation

    def act(self, context: Context) -> None:
        """Push the report as XCom ``report``.

        :raises AirflowFailException: with the report's message, unless the run ended well.
        """
        hook, states = self._held(context), task_states(context)
        end = self._end(hook, holder_of(context)) if hook else End()
        said, good = self._compose(context, states, end)
        trouble = None
        try:
            record = ended(
                begun(context, self._subject(context)),
                context,
                outcome=said["outcome"],
                message=said["message"],
                older=said["older"],
                approved_by=said["approved_by"],
                live=end.live,
                live_known=end.live_known,
                statuses=end.statuses,
            )
            # Before the lock is released: a run that dies between the two is found by its lock.
            self._record(record, hook, states, context)
        finally:
            if hook:
                trouble = self._unlock(hook)
        if trouble and not end.trouble:
            said, good = self._compose(context, states, replace(end, trouble=trouble))
        said["record"] = record.line()
        context["ti"].xcom_push(key=REPORT_KEY, value=said)
        if not good:
            # Airflow shows an exception's text at the end of a traceback, folded away.
            self.log.error("%s", said["message"])
            raise AirflowFailException(said["message"])
        self.log.info("%s", said["message"])

    def _compose(self, context: Context, states: dict[str, str], end: End) -> tuple[dict[str, Any], bool]:
        """Return the report, and whether the run ended well."""
        facts = self._facts(context, states, end)
        if self.needs_confirmation:
            ended_as = outcome_of(facts)
            outcome, good, message = str(ended_as), ended_as.is_good, message_of(facts, self.app_id)
            if ended_as is Outcome.ROLLED_BACK and (plan := found_plan(context)):
                for line in ways_to_look(self.app, plan.fleet.proxies):
                    self.log.info("to look at the bad release: %s", line)
        else:
            others = [state for task, state in states.items() if task != self.task_id]
            good = not facts.errors and all(state == "success" for state in others)
            outcome = "done" if good else "failed"
            message = f"{facts.subject}: {outcome if good else cause_of(facts)}"
        approver, older = approver_of(context, self.app), older_than_live(context, self.app)
        message += "".join(f"; {note}" for note in (older, approver and f"approved by {approver}") if note)
        for moment in [one for one in Moment if one.value in context["dag"].task_ids]:
            for warning in told(context, moment.value, WARNINGS_KEY) or []:
                message += f"; warning: {warning}"
        if states.get("stop_idle_later") == "failed":
            message += "; warning: the idle color is not going to be stopped, see the log of stop_idle_later"
        elif end.live and (moment := told(context, "stop_idle_later", STOPS_AT_KEY)):
            # Without a switch, an earlier run's stop may come first.
            when = "at" if facts.kept else "by"
            message += f"; {end.live.other} stops {when} {moment} (server.stop_idle_after)"
        said: dict[str, Any] = {"outcome": outcome, "live": end.live, "message": message}
        said |= {"older": older, "approved_by": approver}
        drain = facts.drain.model_dump(mode="json") if facts.drain else None
        said["rests_on"] = facts.rests_on.model_dump(mode="json") if facts.rests_on else None
        return said | {"drain": drain, "still_running": end.still_running}, good

    def _facts(self, context: Context, states: dict[str, str], end: End) -> Facts:
        """Bring together what the tasks and the proxies say; where they differ, the latter count."""
        errors = self._errors(context, states)
        # A switch that was confirmed before a run ended, and was cleared, is not what it has done since.
        kept = end.kept and (end.locked or may_have_switched(states))
        settled = self._settled(context, states)
        if settled and end.taken_back:
            settled = None
            errors["switch_traffic"] = "the run was cleared before its switch was confirmed"
        if states.get("confirm") == "success" and end.statuses and not kept:
            errors["confirm"] = "confirm counts as successful, but the switch was not confirmed"
        if end.trouble:
            errors["report"] = end.trouble
            self.log.warning("%s", end.trouble)
        plan, drain = found_plan(context), told(context, "drain")
        bake = told(context, "final_validation") or {}
        unmoved = plan is not None and end.live_known and end.live is plan.live
        # A proxy with a full disk sends traffic back, and cannot write down that it did.
        went_there_and_back = unmoved and bool(told(context, "switch_traffic"))
        rolled_back = bool((told(context, "rollback") or {}).get("moved"))
        return Facts(
            subject=self._subject(context),
            states=states,
            errors=errors,
            moved_back=rolled_back or end.taken_back or went_there_and_back,
            live=end.live,
            live_known=end.live_known,
            asked=bool(end.statuses),
            kept=kept,
            first=plan is not None and plan.live is None,
            unmoved=unmoved,
            settled=settled,
            drain=Drain.model_validate(drain) if drain else None,
            still_running=end.still_running,
            rests_on=RestsOn.model_validate(bake["rests_on"]) if bake else None,
            by_policy=any(states.get(one) == "failed" and told(context, one, POLICY_KEY) for one in ASKING),
        )

    def _subject(self, context: Context) -> str:
        short = f" ({(revision_of(context) or '')[:12]})"
        return self.subject if short == " ()" or short in self.subject else self.subject + short

    @staticmethod
    def _settled(context: Context, states: Mapping[str, str]) -> tuple[Outcome, str] | None:
        """What a task found that left nothing to do; such a task is skipped."""
        for task_id in ("check", "provision_check", "align", "switch_traffic"):
            if states.get(task_id) != "skipped":
                continue
            if found := context["ti"].xcom_pull(task_ids=task_id, key=NOTHING_TO_DO_KEY):
                return Outcome(found["outcome"]), found["message"]
        return None

    def _errors(self, context: Context, states: dict[str, str]) -> dict[str, str]:
        """Collect what the failed tasks said."""
        errors = {}
        task_ids = context["dag"].task_ids
        failed = []
        for key in (key for key, state in states.items() if state == "failed"):
            mapped = re.fullmatch(r"(.+)_(\d+)", key)
            task_id, index = (mapped[1], int(mapped[2])) if mapped and key not in task_ids else (key, -1)
            failed.append((task_ids.index(task_id), index, task_id, key))
        # In the order of the procedure, so that the root cause comes first.
        for _, index, task_id, key in sorted(failed):
            said = context["ti"].xcom_pull(task_ids=task_id, key=ERROR_KEY, map_indexes=index)
            if said:
                errors[key] = str(said)
        return errors

    def _held(self, context: Context) -> ProxiesHook | None:
        """The proxies that this run has locked, if any."""
        lock = told(context, "lock")
        if not lock or not lock["proxies"]:
            return None
        return ProxiesHook.holding(self.app, HeldLock.model_validate(lock))

    def _end(self, hook: ProxiesHook, run: str) -> End:
        """Find out who is live, after ending a switch that nobody is left to confirm."""
        try:
            statuses = hook.statuses()
            trouble = None
            if switch := waiting_switch(statuses, run):
                trouble = self._decide(hook, statuses, switch)
                statuses = hook.statuses()
        except BlueGreenError as error:
            return End(trouble=str(error))
        try:
            live = live_color(statuses)
        except BlueGreenError as error:
            return End(trouble=trouble or str(error), statuses=statuses)
        return End(
            live=live,
            live_known=True,
            taken_back=is_taken_back(statuses, run),
            kept=is_kept(statuses, run),
            locked=holds_lock(statuses, run),
            still_running=sessions_on(live.other, statuses.values()) if live else 0,
            trouble=trouble,
            statuses=statuses,
        )

    @staticmethod
    def _decide(hook: ProxiesHook, statuses: Mapping[str, ProxyStatus], switch: PendingSwitch) -> str | None:
        """Confirm a switch or take it back, without waiting for its timer; return what went wrong."""
        try:
            if is_decided(statuses):
                hook.confirm(switch.revision)
            else:
                hook.revert()
        except BlueGreenError as error:
            return str(error)
        return None

    def _unlock(self, hook: ProxiesHook) -> str | None:
        """Release the lock; what it says is what went wrong."""
        try:
            hook.unlock()
        except BlueGreenError as error:
            return f"the lock was not released: {error}"
        finally:
            hook.close()
        metrics.emit(metrics.locked(self.app_id, since=0))
        return None

    def _record(
        self, record: Record, hook: ProxiesHook | None, states: dict[str, str], context: Context
    ) -> None:
        """Add the run to the ledger of every proxy; that it cannot be is no reason to fail."""
        if is_dry_run(context):
            return
        try:
            if hook:
                hook.record(record.line())
            elif states.get("lock") == "failed":
                found = context["ti"].xcom_pull(task_ids="lock", key=FOUND_KEY) or []
                self._record_without_lock(record, [Droplet.model_validate(one) for one in found])
            else:
                self._record_without_lock(record, self.read_fleet().proxies)
        except BlueGreenError as error:
            self.log.warning("not recorded everywhere: %s", error)

    def _record_without_lock(self, record: Record, proxies: Iterable[Droplet]) -> None:
        with closing(ProxiesHook(self.app, proxies)) as hook:
            hook.record(record.line())
