"""Remove from the database what no release uses any more: the commands of `migrations.contract`.

They run once, with the live release, on one idle droplet. No traffic moves. The run refuses while the release
from before may still be needed: while a switch is not confirmed, and for `migrations.keep_warm` seconds after
that, unless `i_know` is set. Afterwards bluegreen_rollback__<app> refuses to go back to an older release.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.dag_building.trigger_form import contract_params
from bluegreen.operators.contract import ContractOperator
from bluegreen.operators.contract_check import ContractCheckOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.settings.app import App

SUBJECT = "contract"


def contract_dag(app: App) -> DAG:
    """Build the contract DAG of one app."""
    with dag_of("contract", app, __doc__, params=contract_params()) as dag:
        lock = AcquireLockOperator(task_id="lock", purpose=SUBJECT)
        contract_check = ContractCheckOperator(task_id="contract_check", lock=lock.output)
        contract = ContractOperator(task_id="contract", lock=lock.output, target=contract_check.output)
        report = report_and_announce(SUBJECT, needs_confirmation=False)
        chain(lock, contract_check, contract, report)
    return dag


globals().update(
    dags_for_every_app(contract_dag, "bluegreen_contract", only=lambda app: bool(app.migrations.contract))
)
