"""The last word of a run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from bluegreen.drain import Drain, sessions_on
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.operators.failure import ERROR_KEY, NOTHING_TO_DO_KEY
from bluegreen.operators.provision_check import PLAN_KEY
from bluegreen.operators.states import task_states
from bluegreen.outcome import Facts, Outcome, cause_of, message_of, outcome_of
from bluegreen.plan import HeldLock
from bluegreen.traffic import is_decided, live_color

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color

REPORT_KEY = "report"


@dataclass(frozen=True)
class End:
    """What the load balancers say at the end of a run.

    :param taken_back: whether a switch of this run was taken back.
    :param kept: whether a switch of this run is confirmed.
    :param still_running: requests in progress on the color that is not live.
    :param trouble: what went wrong in asking.
    """

    live: Color | None = None
    live_known: bool = False
    taken_back: bool = False
    kept: bool = False
    still_running: int = 0
    trouble: str | None = None


class ReportOperator(BlueGreenOperator):
    """Release the lock, say in one line how the run ended, and fail the run unless it ended well.

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
        ti = context["ti"]
        states = task_states(context)
        errors = self._errors(context, states)
        end = self._leave(context, confirmed=states.get("confirm") == "success")
        if end.trouble:
            errors["report"] = end.trouble
            self.log.warning("%s", end.trouble)
        rolled_back = ti.xcom_pull(task_ids="rollback") or {}
        plan = ti.xcom_pull(task_ids="provision_check", key=PLAN_KEY) or {}
        drain = ti.xcom_pull(task_ids="drain")
        facts = Facts(
            subject=self._subject(context),
            states=states,
            errors=errors,
            moved_back=bool(rolled_back.get("moved")) or end.taken_back,
            live=end.live,
            live_known=end.live_known,
            kept=end.kept,
            first=bool(plan) and plan["live"] is None,
            settled=self._settled(context),
            drain=Drain.model_validate(drain) if drain else None,
            still_running=end.still_running,
        )
        if self.needs_confirmation:
            outcome, message = outcome_of(facts), message_of(facts, self.app_id)
            good = outcome.is_good
        else:
            unfinished = [
                state for task, state in states.items() if task != ti.task_id and state != "success"
            ]
            good = not errors and not unfinished
            outcome = "done" if good else "failed"  # type: ignore[assignment]
            message = f"{facts.subject}: {outcome if good else cause_of(facts)}"
        said: dict[str, Any] = {"outcome": str(outcome), "live": end.live, "message": message}
        said |= {"drain": drain, "still_running": end.still_running}
        ti.xcom_push(key=REPORT_KEY, value=said)
        if not good:
            raise AirflowFailException(message)
        self.log.info("%s", message)

    def _subject(self, context: Context) -> str:
        revision = context["ti"].xcom_pull(task_ids="resolve_ref")
        return f"{self.subject} ({revision[:12]})" if revision else self.subject

    @staticmethod
    def _settled(context: Context) -> tuple[Outcome, str] | None:
        """What a task found that left nothing to do."""
        for task_id in ("provision_check", "align"):
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

    def _leave(self, context: Context, confirmed: bool) -> End:
        """Find out who is live, and release the lock whatever comes of that."""
        lock = context["ti"].xcom_pull(task_ids="lock")
        if not lock or not lock["load_balancers"]:
            return End()
        held = HeldLock.model_validate(lock)
        hook = LoadBalancersHook.holding(self.app, held)
        end = End()
        try:
            end = self._look(hook, f"{context['dag_run'].dag_id}/{context['dag_run'].run_id}", confirmed)
        except BlueGreenError as error:
            end = End(trouble=str(error))
        try:
            hook.unlock()
        except BlueGreenError as error:
            end = replace(end, trouble=end.trouble or f"the lock was not released: {error}")
        hook.close()
        return end

    @staticmethod
    def _look(hook: LoadBalancersHook, run: str, confirmed: bool) -> End:
        statuses = hook.statuses()
        waiting = [one.pending for one in statuses.values() if one.pending and one.pending.run_id == run]
        if waiting and not confirmed:
            # Nobody is left to confirm it, so there is no point in waiting for the timer.
            if is_decided(statuses):
                hook.confirm(waiting[0].revision)
            else:
                hook.revert()
            statuses = hook.statuses()
        taken_back = any(
            one.last_revert is not None
            and one.last_revert.run_id == run
            and one.lock is not None
            and one.last_revert.at >= one.lock.since
            for one in statuses.values()
        )
        kept = all(
            one.pending is None
            and one.confirmed is not None
            and (one.confirmed.run_id, one.confirmed.color) == (run, one.live)
            for one in statuses.values()
        )
        live = live_color(statuses)
        still_running = sessions_on(live.other, statuses.values()) if live else 0
        return End(live, True, taken_back, kept, still_running)
