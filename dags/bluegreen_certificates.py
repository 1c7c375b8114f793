"""Obtain certificates in time, deliver them to every proxy, and see that clients get them.

It runs once a day. Only apps with certificates in `traffic.tls` that Airflow looks after have this DAG. The
old certificates serve until the new ones do, and stay if anything fails. A proxy that is away is named, and
gets them from the next run.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.dag_building.trigger_form import certificates_params
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.renew_certificates import RenewCertificatesOperator
from bluegreen.settings.app import App
from bluegreen.settings.tls import SCHEDULE

# An authority that sends its answer byte by byte ends here; a rollback waits for the lock for 15 minutes.
LONGEST_RENEWAL = timedelta(minutes=12)
SUBJECT = (
    "certificates{% set found = ti.xcom_pull(task_ids='renew_certificates') %}"
    "{% if found %} ({{ found }}){% endif %}"
)


def certificates_dag(app: App) -> DAG:
    """Build the DAG of one app."""
    with dag_of(
        "certificates", app, __doc__, schedule=SCHEDULE, params=certificates_params(), catchup=False
    ) as dag:
        lock = AcquireLockOperator(
            task_id="lock",
            purpose="certificates",
            reachable_only=True,
            # A certificate has weeks, so it outwaits a deploy that waits for its approval.
            wait=max(app.timeouts.lock_wait, app.timeouts.approval + app.timeouts.build),
        )
        renew_certificates = RenewCertificatesOperator(
            task_id="renew_certificates", lock=lock.output, execution_timeout=LONGEST_RENEWAL
        )
        report = report_and_announce(SUBJECT, needs_confirmation=False, may_be_skipped=["renew_certificates"])
        chain(lock, renew_certificates, report)
    return dag


globals().update(
    dags_for_every_app(
        certificates_dag,
        "bluegreen_certificates",
        only=lambda app: app.traffic.tls is not None and app.traffic.tls.is_delivered,
    )
)
