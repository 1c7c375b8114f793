"""The report of a run: how it ended, for people and for the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
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
from bluegreen.operators.support.failures import NOTHING_TO_DO_KEY
from bluegreen.operators.support.run_end import End, end_of
from bluegreen.operators.support.run_record import record_at_end, record_at_start
from bluegreen.operators.support.seals import Seals, may_have_contracted, older_than_live
from bluegreen.operators.support.this_run import left_as
from bluegreen.polling import Deadline, poll
from bluegreen.release.lifecycle_commands import Moment
from bluegreen.run.outcome import Outcome, RunFacts, cause_of, may_have_switched, message_of, outcome_of
from bluegreen.run.plan import HeldLock
from bluegreen.run.report import Report
from bluegreen.traffic.preview_access import ways_to_look

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.run.ledger import Record

REPORT_KEY = "report"

# Seconds to wait for a proxy that is away while a run without the lock ends, and between two attempts.
# A later run completes the records of runs by their locks only.
RECORD_SECONDS, RECORD_INTERVAL = 15.0, 1.0


class ReportOperator(BlueGreenOperator):
    """Say in one line how the run ended, record it, release the lock, and fail the run unless it ended well.

    :param subject: what the run was to do; templated.
    :param needs_confirmation: whether only a confirmed switch is a good end; otherwise any run without a
        failed task is.
    :param may_be_skipped: ids of tasks that have nothing to do in most runs; without a confirmation only.
    """

    template_fields = ("subject",)

    def __init__(
        self,
        *,
        subject: str,
        needs_confirmation: bool = True,
        may_be_skipped: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.subject = subject
        self.needs_confirmation = needs_confirmation
        self.may_be_skipped = may_be_skipped

    def act(self, run: ThisRun) -> None:
        """Push the report as XCom ``report``.

        :raises AirflowFailException: with the report's message, unless the run ended well.
        """
        hook = self._held(run)
        end = end_of(hook, run.holder) if hook else End()
        report, good = self._compose(run, end)
        trouble = None
        try:
            record = record_at_end(
                record_at_start(run, self._subject(run)),
                run,
                report=report,
                live_known=end.live_known,
                contracted=may_have_contracted(run, self.app),
                statuses=end.statuses,
            )
            # Before the lock is released: a run that dies between the two is found by its lock.
            self._record(record, hook, run)
        finally:
            if hook:
                trouble = self._unlock(hook)
        if trouble and not end.trouble:
            report, good = self._compose(run, replace(end, trouble=trouble))
        report = report.model_copy(update={"record": record.line()})
        run.push(REPORT_KEY, report.model_dump(mode="json"))
        if not good:
            # Airflow shows an exception's text at the end of a traceback, folded away.
            self.log.error("%s", report.message)
            raise AirflowFailException(report.message)
        self.log.info("%s", report.message)

    def _compose(self, run: ThisRun, end: End) -> tuple[Report, bool]:
        """Return the report, and whether the run ended well."""
        facts = self._facts(run, end)
        if self.needs_confirmation:
            ended_as = outcome_of(facts)
            outcome, good, message = str(ended_as), ended_as.is_good, message_of(facts, self.app_id)
            if ended_as is Outcome.ROLLED_BACK and (plan := run.plan):
                for line in ways_to_look(self.app, plan.fleet.proxies):
                    self.log.info("to look at the bad release: %s", line)
        else:
            skipped = [(task, "skipped") for task in self.may_be_skipped]
            others = [
                state
                for task, state in run.states.items()
                if task != self.task_id and (task, state) not in skipped
            ]
            good = not facts.errors and all(state == "success" for state in others)
            outcome = "done" if good else "failed"
            message = f"{facts.subject}: {outcome if good else cause_of(facts)}"
        approver, older = Seals(run, self.app).approver(), older_than_live(run, self.app)
        notes = (str(run.migration or ""), older, approver and f"approved by {approver}")
        message += "".join(f"; {note}" for note in notes if note)
        for moment in [one for one in Moment if one.value in run.task_ids]:
            for warning in run.output(moment.value, WARNINGS_KEY) or []:
                message += f"; warning: {warning}"
        if run.states.get("stop_idle_later") == "failed":
            message += "; warning: the idle color is not going to be stopped, see the log of stop_idle_later"
        elif end.live and (moment := run.output("stop_idle_later", STOPS_AT_KEY)):
            # Without a switch, an earlier run's stop may come first.
            when = "at" if facts.kept else "by"
            message += f"; {end.live.other} stops {when} {moment} (server.stop_idle_after)"
        report = Report(
            outcome=outcome,
            live=end.live,
            message=message,
            older=older,
            approved_by=approver,
            rests_on=facts.rests_on,
            drain=facts.drain,
            still_running=end.still_running,
        )
        return report, good

    def _facts(self, run: ThisRun, end: End) -> RunFacts:
        """Bring together what the tasks and the proxies say; where they differ, the latter count."""
        states, errors = run.states, {key: one.message for key, one in run.failures.items()}
        # A switch that was confirmed before a run ended, and was cleared, is not what it has done since.
        kept = end.kept and (end.locked or may_have_switched(states))
        settled = self._settled(run)
        if settled and end.taken_back:
            settled = None
            errors["switch_traffic"] = "the run was cleared before its switch was confirmed"
        if states.get("confirm") == "success" and end.statuses and not kept:
            errors["confirm"] = "confirm counts as successful, but the switch was not confirmed"
        if end.trouble:
            errors["report"] = end.trouble
            self.log.warning("%s", end.trouble)
        plan = run.plan
        unmoved = plan is not None and end.live_known and end.live is plan.live
        # A proxy with a full disk sends traffic back, and cannot write down that it did.
        went_there_and_back = unmoved and bool(run.output("switch_traffic"))
        rolled_back = run.rollback is not None and run.rollback.moved
        return RunFacts(
            subject=self._subject(run),
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
            drain=run.drain,
            still_running=end.still_running,
            rests_on=run.bake.rests_on if run.bake else None,
            by_policy=any(one.by_policy for one in run.failures.values()),
        )

    def _subject(self, run: ThisRun) -> str:
        short = f" ({(run.revision or '')[:12]})"
        return self.subject if short == " ()" or short in self.subject else self.subject + short

    @staticmethod
    def _settled(run: ThisRun) -> tuple[Outcome, str] | None:
        """Return the outcome and the message of a task that found nothing to do; such a task is skipped."""
        for task_id in ("check", "provision_check", "align", "switch_traffic"):
            if run.states.get(task_id) != "skipped":
                continue
            if found := run.xcom_of(task_id, NOTHING_TO_DO_KEY):
                return Outcome(found["outcome"]), found["message"]
        return None

    def _held(self, run: ThisRun) -> ProxiesHook | None:
        """The proxies that this run has locked, if any."""
        found = run.output("lock")
        lock = left_as(HeldLock, found) if found else None
        return ProxiesHook.holding(self.app, lock) if lock and lock.proxies else None

    def _unlock(self, hook: ProxiesHook) -> str | None:
        """Release the lock; return what went wrong."""
        try:
            hook.unlock()
        except BlueGreenError as error:
            return f"the lock was not released: {error}"
        finally:
            hook.close()
        metrics.emit(metrics.locked(self.app_id, since=0))
        return None

    def _record(self, record: Record, hook: ProxiesHook | None, run: ThisRun) -> None:
        """Add the run to the ledger of every proxy; that it cannot be is no reason to fail."""
        if run.is_dry_run:
            return
        try:
            if hook:
                hook.record(record.line())
            elif run.states.get("lock") == "failed":
                found = run.xcom_of("lock", FOUND_KEY) or []
                self._record_without_lock(record, [Droplet.model_validate(one) for one in found])
            else:
                self._record_without_lock(record, self.read_fleet().proxies)
        except BlueGreenError as error:
            self.log.warning("not recorded everywhere: %s", error)

    def _record_without_lock(self, record: Record, proxies: Iterable[Droplet]) -> None:
        def is_recorded() -> bool:
            hook.record(record.line())
            return True

        with closing(ProxiesHook(self.app, proxies)) as hook:
            poll(
                is_recorded,
                missing="the run is not recorded",
                every=RECORD_INTERVAL,
                deadline=Deadline(),
                seconds=RECORD_SECONDS,
                report=lambda error: self.log.info("not recorded everywhere yet: %s", error),
            )
