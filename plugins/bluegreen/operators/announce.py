"""The announcement after a run's report: asset events and notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.notifications import notify
from bluegreen.operators.support.run_record import record_at_start
from bluegreen.run.events import event_of
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.run.report import Report

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


def run_asset(app_id: str) -> Asset:
    """Every run of an app is an event of this asset, with the run's record and the report's ``heads``."""
    return Asset(name=f"bluegreen_runs__{app_id}", uri=f"bluegreen://{app_id}/runs")


def live_asset(app_id: str) -> Asset:
    """A new revision that is live and confirmed is an event of this asset, with the run's record."""
    return Asset(name=f"bluegreen_live__{app_id}", uri=f"bluegreen://{app_id}/live")


class AnnounceOperator(BlueGreenOperator):
    """Emit the run's asset events, and notify people.

    A task of its own, because Airflow drops the events of a task that fails, as the report of a bad run does;
    and after the report, so that a slow service delays neither the lock nor the verdict.

    :param subject: what the run was to do, if its report did not live to say so; templated.
    """

    template_fields = ("subject",)

    def __init__(self, *, subject: str, app_id: str = "", **kwargs: Any) -> None:
        # An alias has an event only if one is added, an asset with every success of the task.
        outlets = [run_asset(app_id), AssetAlias(f"bluegreen_live__{app_id}")]
        super().__init__(app_id=app_id, outlets=outlets, **kwargs)
        self.subject = subject

    def act(self, run: ThisRun) -> None:
        """Emit the events, then notify."""
        found = run.xcom_of("report", "report")
        report = Report.model_validate(found) if found else self._unreported(run)
        events: Any = run.context["outlet_events"]
        events[run_asset(self.app_id)].extra.update({**report.record, "heads": report.heads})
        if report.outcome == Outcome.LIVE:
            events[AssetAlias(f"bluegreen_live__{self.app_id}")].add(
                live_asset(self.app_id), extra=report.record
            )
        event = event_of(report.outcome, good=run.states.get("report") == "success", dry_run=run.is_dry_run)
        if event:
            notify(self.app, event, report.message, run.page)

    def _unreported(self, run: ThisRun) -> Report:
        """The report of a run whose report died."""
        message = f"{self.subject}: {UNREPORTED}, see the log of its task report"
        end = {"outcome": UNREPORTED, "message": message}
        record = record_at_start(run, self.subject).model_copy(update=end)
        return Report(outcome=UNREPORTED, message=message, record=record.line())
