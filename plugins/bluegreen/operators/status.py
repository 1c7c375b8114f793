"""Show who is live, what runs where and what happened last, and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.xcom import BaseXCom

from bluegreen.checks.gather.collect import collect, read_runs
from bluegreen.checks.render import summary
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.errors import ProxyError
from bluegreen.operators.support import metrics
from bluegreen.operators.support.base import BlueGreenOperator

if TYPE_CHECKING:
    from bluegreen.operators.support.this_run import ThisRun


class StatusOperator(BlueGreenOperator):
    """Show who is live, what runs where, what happened last, and what is not as it should be."""

    def act(self, run: ThisRun) -> dict[str, Any]:
        """Return the status as plain data; it is the task's XCom too if it fails.

        :raises ProxyError: if no proxy can be asked, so that it is not known who is live.
        """
        facts = collect(self.app, None)
        metrics.emit({**metrics.lock_in(facts), **metrics.processes_in(facts)})
        status = status_of(facts, findings_in(facts), read_runs(facts))
        for line in lines_of(status):
            self.log.info("%s", line)
        found = status.model_dump(mode="json")
        if not facts.readable:
            # The failure ends the task without a return value.
            run.push(BaseXCom.XCOM_RETURN_KEY, found)
            raise ProxyError(
                f"nobody can be asked who is live: {summary(status.findings)}", code="unknown_live"
            )
        return found
