"""The last word of a run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancers import LoadBalancersHook
from bluegreen.operators.base import BlueGreenOperator
from bluegreen.operators.failure import ERROR_KEY
from bluegreen.operators.states import task_states
from bluegreen.outcome import Facts, Outcome, message_of, outcome_of
from bluegreen.plan import HeldLock
from bluegreen.traffic import live_color

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bluegreen.color import Color

REPORT_KEY = "report"


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
        live, live_known, trouble = self._release_lock(context)
        if trouble:
            errors["report"] = trouble
        rolled_back = ti.xcom_pull(task_ids="rollback") or {}
        facts = Facts(
            subject=self._subject(context),
            states=states,
            errors=errors,
            moved_back=bool(rolled_back.get("moved")),
            live=live,
            live_known=live_known,
        )
        if self.needs_confirmation:
            outcome, message = outcome_of(facts), message_of(facts, self.app_id)
            good = outcome is Outcome.LIVE
        else:
            good = not errors and "failed" not in states.values()
            outcome = "done" if good else "failed"  # type: ignore[assignment]
            message = f"{facts.subject}: {'; '.join(errors.values()) or outcome}"
        ti.xcom_push(key=REPORT_KEY, value={"outcome": str(outcome), "live": live, "message": message})
        if not good:
            raise AirflowFailException(message)
        self.log.info("%s", message)

    def _subject(self, context: Context) -> str:
        revision = context["ti"].xcom_pull(task_ids="resolve_ref")
        return f"{self.subject} ({revision[:12]})" if revision else self.subject

    def _errors(self, context: Context, states: dict[str, str]) -> dict[str, str]:
        """Collect what the failed tasks said."""
        errors = {}
        task_ids = context["dag"].task_ids
        for key, state in states.items():
            if state != "failed":
                continue
            mapped = re.fullmatch(r"(.+)_(\d+)", key)
            task_id, index = (mapped[1], int(mapped[2])) if mapped and key not in task_ids else (key, -1)
            said = context["ti"].xcom_pull(task_ids=task_id, key=ERROR_KEY, map_indexes=index)
            if said:
                errors[key] = str(said)
        return errors

    def _release_lock(self, context: Context) -> tuple[Color | None, bool, str | None]:
        """Return who is live, whether that is known, and what went wrong in asking."""
        lock = context["ti"].xcom_pull(task_ids="lock")
        if not lock or not lock["load_balancers"]:
            return None, False, None
        hook = LoadBalancersHook.holding(self.app, HeldLock.model_validate(lock))
        try:
            live = live_color(hook.statuses())
            hook.unlock()
        except BlueGreenError as error:
            return None, False, f"the lock was not released: {error}"
        return live, True, None
