"""The dry run: find out whether a deploy would succeed, and change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bluegreen.checks.facts import Source
from bluegreen.checks.finding import Severity
from bluegreen.checks.gather.collect import collect
from bluegreen.checks.migrations import pending
from bluegreen.checks.not_checked import not_checked
from bluegreen.checks.render import NEVER_CHECKED, summary, table
from bluegreen.checks.run import findings_in
from bluegreen.errors import BlueGreenError, NothingToDoError
from bluegreen.operators.support import metrics
from bluegreen.operators.support.base import BlueGreenOperator
from bluegreen.operators.support.this_run import NOTHING_TO_DEPLOY, REVISION_KEY, ThisRun
from bluegreen.run.outcome import Outcome

FINDINGS_KEY = "findings"
SUMMARY_KEY = "summary"
# The subject of a dry run's report, with what was found. A report of a failure names that as the cause.
SUBJECT = (
    "dry run of {{ params.ref }}"
    "{% set revision = ti.xcom_pull(task_ids='check', key='revision') %}"
    "{% if revision %} ({{ revision[:12] }}){% endif %}"
    "{% set found = ti.xcom_pull(task_ids='check', key='summary') %}"
    "{% if found and not ti.xcom_pull(task_ids='check', key='error') %} ({{ found }}){% endif %}"
)


class DryRunOperator(BlueGreenOperator):
    """Find out whether a deploy would succeed right now, and whether traffic could go back.

    :param ref: branch, tag or commit that a deploy would be of; templated; empty if only an artifact of CI
        says what to deploy.
    :param instead: whether this takes the place of a deploy, in whose DAG it is.
    """

    template_fields: Sequence[str] = ("ref",)

    def __init__(self, *, ref: str = "{{ params.ref or '' }}", instead: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ref = ref
        self.instead = instead

    def act(self, run: ThisRun) -> None:
        """Push all findings as XCom ``findings``, the worst first, and their sum as XCom ``summary``.

        What the ref led to is XCom ``revision``, if it led anywhere.

        :raises BlueGreenError: with the sum, if a deploy would fail, or if nothing says what to deploy.
        :raises NothingToDoError: with the sum, if it would not, and there is nothing more to do.
        """
        if not self.ref and not run.artifact:
            # `resolve_ref` leaves its errors to this task.
            raise BlueGreenError(NOTHING_TO_DEPLOY)
        allow_older = bool(run.params.get("allow_older"))
        facts = collect(self.app, self.ref or None, artifact=run.artifact, allow_older=allow_older)
        found = findings_in(facts)
        metrics.emit({**metrics.lock_in(facts), **metrics.processes_in(facts)})
        if not self.instead:
            metrics.emit(metrics.findings_of(self.app_id, found))
        in_short = summary(found, not_checked(facts), pending(facts))
        run.push(FINDINGS_KEY, [one.model_dump(mode="json") for one in found])
        run.push(SUMMARY_KEY, in_short)
        if isinstance(facts.source, Source):
            run.push(REVISION_KEY, facts.source.revision)
        for line in table(found):
            self.log.info("%s", line)
        self.log.info("%s", NEVER_CHECKED)
        if any(one.severity is Severity.ERROR for one in found):
            raise BlueGreenError(in_short)
        if self.instead:
            raise NothingToDoError(in_short, Outcome.WOULD_SUCCEED)
        self.log.info("%s", in_short)
