"""The night watch: would a deploy succeed right now, and could traffic go back?

It reads everything and changes nothing. The log of `check` and its XCom `findings` list the problems, the
worst first. The run fails if a deploy would fail.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.git_refs import REF_PATTERN
from bluegreen.operators.check import SUBJECT, DryRunOperator
from bluegreen.settings.app import App


def dry_run_dag(app: App) -> DAG:
    """Build the dry-run DAG of one app."""
    ref = Param(
        app.default_ref,
        type="string",
        title="Git ref",
        description="What a deploy would be of: a branch, a tag or a commit id.",
        pattern=REF_PATTERN,
    )
    with dag_of(
        "dry_run", app, __doc__, schedule=app.dry_run_schedule, catchup=False, params={"ref": ref}
    ) as dag:
        check = DryRunOperator(task_id="check", retries=0)
        report = report_and_announce(SUBJECT, needs_confirmation=False)
        chain(check, report)
    return dag


globals().update(dags_for_every_app(dry_run_dag, "bluegreen_dry_run"))
