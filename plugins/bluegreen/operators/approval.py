"""The approval of a person before traffic moves, for runs that require one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from bluegreen.errors import BlueGreenError, PolicyError
from bluegreen.hooks.repository import repository_access
from bluegreen.operators.support.failures import failures_reported
from bluegreen.operators.support.holding_lock import HoldsLock
from bluegreen.operators.support.notifications import notify
from bluegreen.operators.support.this_run import ThisRun, left_as
from bluegreen.release.migrations import Migration
from bluegreen.run.approval_request import ASKED_AGAIN, MOST_COMMITS, Request, demanded_by, refuse_approver
from bluegreen.run.events import Event
from bluegreen.run.plan import Plan
from bluegreen.source.policy import commits_between
from bluegreen.validation.results import Baseline

if TYPE_CHECKING:
    from airflow.sdk import Context


class NotApprovedError(BlueGreenError):
    """Somebody rejected the switch, or nobody answered in time."""


class SwitchApprovalOperator(HoldsLock, ApprovalOperator):
    """Show what is to be switched, and wait for a person to approve or reject; no answer is a no.

    Ends at once in a run that needs no approval by the app's file. It is not skipped then: what follows a
    task that may be skipped needs a trigger rule that also counts the tasks whose results it uses, and would
    run after a failed start.

    An answer that Airflow loses is asked for again, and the request and the notification say so.

    Nobody renews the run's lock while the task waits, so it gets a lease for the whole time.

    :param app_id: which app.
    :param lock: the run's :class:`HeldLock`; templated.
    :param plan: the run's :class:`Plan`; templated.
    :param revision: what is to get the traffic; templated.
    :param baseline: the result of the preview check; templated.
    """

    template_fields: Sequence[str] = (
        *ApprovalOperator.template_fields,
        *("lock", "plan", "revision", "baseline"),
    )

    def __init__(
        self, *, app_id: str, lock: Any, plan: Any, revision: Any, baseline: Any, **kwargs: Any
    ) -> None:
        super().__init__(defaults=self.REJECT, **kwargs)
        self.app_id = app_id
        self.lock = lock
        self.plan = plan
        self.revision = revision
        self.baseline = baseline

    def execute(self, context: Context) -> Any:
        """Make the lock last, and ask, if the policy demands it; the task then waits without a process.

        :raises ProxyError: (as a failed task) if the lock is not this run's any more.
        :raises PolicyError: (as a failed task) if it cannot be known who else might have triggered the run,
            or if what would be shown is not what this run's own tasks have found.
        """
        run = ThisRun(context)
        # Whoever hides that from the plan gets no further than the switch, which requires the plan's seal.
        irreversible = bool((self.plan or {}).get("irreversible"))
        demand = demanded_by(self.app, run.params, irreversible=irreversible)
        if demand is None:
            self.log.info("this run requires no approval")
            return None
        with failures_reported(context):
            if context["dag_run"].clear_number:
                raise PolicyError(
                    f"this run needs an approval ({demand}), and was cleared; Airflow does not say by whom, "
                    "so it is not known who may approve it; trigger a new run"
                )
            self._require_seals(run)
            self.proxies().renew(lease=self.app.timeouts.approval + self.app.timeouts.lease)
            again = context["ti"].try_number > 1
            self.body = self._request(run, again=again)
        # Before there is something to answer: an answer that comes before the task waits makes Airflow ask
        # again, so nothing that takes long may stand between the two.
        self._notify(run, again=again)
        return super().execute(context)

    def _require_seals(self, run: ThisRun) -> None:
        seals = self.seals(run)
        seals.require_revision(self.revision)
        seals.require_plan(self.revision, left_as(Plan, self.plan))
        seals.require_result("preview_check", self.revision, self.baseline)
        if self.app.migrations.expand:
            seals.require_result("expand", self.revision, run.output("expand"))

    def _notify(self, run: ThisRun, *, again: bool) -> None:
        page = f"{run.page}/tasks/{self.task_id}/required_actions"
        message = f"{self.app_id} waits for an approval: {self.subject}{f' {ASKED_AGAIN}' if again else ''}"
        notify(self.app, Event.APPROVAL, message, page)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on with the answer.

        :raises NotApprovedError: (as a failed task) naming who rejected the switch.
        :raises PolicyError: (as a failed task) if the person who approved it may not.
        """
        user = event.get("responded_by_user") or {}
        with failures_reported(context):
            if event.get("chosen_options") != [self.APPROVE]:
                raise NotApprovedError(f"not approved by {self._who(event)}")
            names = [str(user[key]) for key in ("name", "id") if user.get(key)]
            refuse_approver(self.app, names, context["dag_run"].triggering_user_name)
            self.proxies().renew(lease=self.app.timeouts.lease)
            seals = self.seals(ThisRun(context))
            seals.seal_approval(self.revision, self._who(event), event["responded_at"])
        self.log.info("approved by %s", self._who(event))
        return super().execute_complete(context, event)

    def _who(self, event: Mapping[str, Any]) -> str:
        if user := event.get("responded_by_user"):
            return str(user["name"] or user["id"])
        return f"anybody within {self.app.timeouts.approval} s (setting timeouts.approval)"

    def _request(self, run: ThisRun, *, again: bool) -> str:
        baseline = Baseline.model_validate(self.baseline)
        request = Request(
            app=self.app,
            plan=Plan.model_validate(self.plan),
            revision=self.revision,
            baseline=baseline.samples,
            unproven=baseline.unproven,
            reason=run.params["reason"] or "",
            emergency=run.is_emergency,
            migration=left_as(Migration, run.output("expand")) if self.app.migrations.expand else None,
            again=again,
        )
        return request.markdown(self._commits(request))

    def _commits(self, request: Request) -> list[str] | None:
        """Return what is in between; without it, a person decides."""
        if request.range is None:
            return None
        try:
            with repository_access(request.app) as access:
                return commits_between(request.app, *request.range, most=MOST_COMMITS + 1, access=access)
        except BlueGreenError as error:
            self.log.warning("the commits in between are not known: %s", error)
            return None
