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
from bluegreen.operators.support.migration_job import end_job
from bluegreen.operators.support.run_end import End, end_of
from bluegreen.operators.support.run_record import record_at_end, record_at_start
from bluegreen.operators.support.seals import MigrationDone, Seals, older_than_live
from bluegreen.operators.support.this_run import DID_NOT_RUN, MOVE_PROCESSES, left_as
from bluegreen.polling import Deadline, poll
from bluegreen.run.contract import may_have_contracted
from bluegreen.run.outcome import (
    NOTHING_TO_DO,
    Outcome,
    RunFacts,
    cause_of,
    may_have_switched,
    message_of,
    outcome_of,
)
from bluegreen.run.plan import HeldLock
from bluegreen.run.processes import ProcessesMove
from bluegreen.run.report import Report
from bluegreen.settings.hooks import Moment
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
        if not end.statuses:
            end = replace(end, irreversible=_maybe_irreversible(run))
        done = Seals(run, self.app).migration()
        report, good = self._compose(run, end, done)
        trouble, heads = None, {}
        try:
            record = record_at_end(
                record_at_start(run, self._subject(run)),
                run,
                report=report,
                live_known=end.live_known,
                contracted=may_have_contracted(run.states.get("contract"), end.statuses, run.holder),
                irreversible=end.irreversible,
                migration=done.migration if done else None,
                statuses=end.statuses,
            )
            # Before the lock is released: a run that dies between the two is found by its lock.
            heads = self._record(record, hook, run)
            self._end_migration(run, done)
        finally:
            if hook:
                trouble = self._unlock(hook)
        if trouble and not end.trouble:
            report, good = self._compose(run, replace(end, trouble=trouble), done)
        report = report.model_copy(update={"record": record.line(), "heads": heads})
        run.push(REPORT_KEY, report.model_dump(mode="json"))
        if not good:
            # Airflow shows an exception's text at the end of a traceback, folded away.
            self.log.error("%s", report.message)
            raise AirflowFailException(report.message)
        self.log.info("%s", report.message)

    def _end_migration(self, run: ThisRun, done: MigrationDone | None) -> None:
        """Remove what the job of a migration has left, and end one whose task died and never ran again."""
        if not done or (done.migration.ran and run.states.get(done.migration.phase) != "success"):
            # The task of a phase that failed has removed everything itself.
            return
        try:
            end_job(self.app, done, left_as(HeldLock, run.output("lock")).fencing_token)
        except BlueGreenError as error:
            self.log.warning(
                "the %s job on %s may be at work, or have left traces (%s); its limit or a later run ends it",
                done.migration.phase,
                done.droplet.name,
                error,
            )

    @staticmethod
    def _migrated(run: ThisRun, done: MigrationDone | None) -> str:
        """Return in words what is known of the run's phase of a migration."""
        if done and not done.migration.ran and run.states.get(done.migration.phase) != "success":
            return f"{done.migration.phase} had begun on {done.droplet.name}"
        return str(done.migration) if done else ""

    def _compose(self, run: ThisRun, end: End, done: MigrationDone | None) -> tuple[Report, bool]:
        """Return the report, and whether the run ended well.

        :param done: what was run of a migration.
        """
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
            if good and facts.settled:
                outcome, message = NOTHING_TO_DO, f"{facts.subject}: {facts.settled[1]}"
        approver, older = Seals(run, self.app).approver(), older_than_live(run, self.app)
        no_way_back = facts.irreversible and f"there is no way back from it: {facts.irreversible}"
        notes = (self._migrated(run, done), older, no_way_back, approver and f"approved by {approver}")
        message += "".join(f"; {note}" for note in notes if note)
        for moment in [one for one in Moment if one.value in run.task_ids]:
            for warning in run.output(moment.value, WARNINGS_KEY) or []:
                message += f"; warning: {warning}"
        processes = self._processes(run, facts)
        if str(processes) not in message:
            message += f"; {'warning: ' if processes.trouble else ''}{processes}"
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
        # Traffic is where it should be, and work that nobody does is a failure nevertheless.
        return report, good and not processes.trouble

    def _processes(self, run: ThisRun, facts: RunFacts) -> ProcessesMove:
        """Return what became of the app's processes and timers."""
        did_not_run = run.states.get(MOVE_PROCESSES) in (None, *DID_NOT_RUN)
        if facts.kept and did_not_run and MOVE_PROCESSES in run.task_ids:
            advice = f"run bluegreen_provision__{self.app_id}"
            return ProcessesMove(trouble=f"the processes and timers were not moved; {advice}")
        return run.processes or ProcessesMove()

    def _facts(self, run: ThisRun, end: End) -> RunFacts:
        """Bring together what the tasks and the proxies say; where they differ, the latter count."""
        states, errors = run.states, {key: one.message for key, one in run.failures.items()}
        # A switch that was confirmed before a run ended, and was cleared, is not what it has done since.
        kept = end.kept and (end.locked or may_have_switched(states))
        settled = self._settled(run)
        if settled and end.taken_back:
            settled = None
            errors["switch_traffic"] = "the run was cleared before its switch was confirmed"
        if states.get("confirm") == "success" and end.statuses and not (kept and end.judged):
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
            irreversible=end.irreversible,
            judged=end.judged,
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
        for task_id in ("check", "provision_check", "align", "switch_traffic", "renew_certificates"):
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

    def _record(self, record: Record, hook: ProxiesHook | None, run: ThisRun) -> dict[str, str]:
        """Add the run to the ledger of every proxy; that it cannot be is no reason to fail.

        :return: the digests of the ledgers' last lines by proxy; empty unless all have the record.
        """
        if run.is_dry_run:
            return {}
        try:
            if hook:
                return hook.record(record.line())
            if run.states.get("lock") == "failed":
                found = run.xcom_of("lock", FOUND_KEY) or []
                return self._record_without_lock(record, [Droplet.model_validate(one) for one in found])
            return self._record_without_lock(record, self.read_fleet().proxies)
        except BlueGreenError as error:
            self.log.warning("not recorded everywhere: %s", error)
            return {}

    def _record_without_lock(self, record: Record, proxies: Iterable[Droplet]) -> dict[str, str]:
        with closing(ProxiesHook(self.app, proxies)) as hook:
            return poll(
                lambda: hook.record(record.line()),
                missing="the run is not recorded",
                every=RECORD_INTERVAL,
                deadline=Deadline(),
                seconds=RECORD_SECONDS,
                report=lambda error: self.log.info("not recorded everywhere yet: %s", error),
            )


def _maybe_irreversible(run: ThisRun) -> str | None:
    """Return why there is no way back from a deploy's release, if it may have switched to it.

    The plan of a rollback has that of the release which it leaves.
    """
    plan = run.plan
    if plan is None or "previous_release" in run.task_ids or not may_have_switched(run.states):
        return None
    return plan.irreversible
