"""Create the droplets that the settings ask for, and the address in front of them that clients connect to.

Existing droplets are adopted, so a second run changes nothing.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import DEFAULT_ARGS, announce, dags_for_every_app
from bluegreen.operators.create_droplets import CreateDropletsOperator
from bluegreen.operators.entry_point import EntryPointOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.print_fleet import PrintFleetOperator
from bluegreen.operators.report import ReportOperator
from bluegreen.sensors.wait_for_ssh import BootedDropletSensor
from bluegreen.sensors.wait_until_active import ActiveDropletsSensor
from bluegreen.settings.app import App

SUBJECT = (
    "provisioning{% set found = ti.xcom_pull(task_ids='entry_point') %}"
    "{% if found %} (clients find the app at {{ found.address }}){% endif %}"
)


def provision_dag(app: App) -> DAG:
    """Build the provision DAG of one app."""
    with DAG(
        f"bluegreen_provision__{app.id}",
        schedule=None,
        max_active_runs=1,
        default_args=DEFAULT_ARGS,
        doc_md=__doc__,
        tags=["bluegreen", app.id],
    ) as dag:
        lock = AcquireLockOperator(
            app_id=app.id,
            task_id="lock",
            purpose="provisioning",
            reachable_only=True,
            # Nothing there renews it: as long as everything in this DAG may take.
            lease=app.timeouts.boot * 3,
        )
        create_droplets = CreateDropletsOperator(app_id=app.id, task_id="create_droplets")
        # Airflow's own timeouts are backstops; the sensors end by themselves and say what is missing.
        wait_until_active = ActiveDropletsSensor(
            app_id=app.id, task_id="wait_until_active", poke_interval=2, timeout=app.timeouts.boot * 2
        )
        wait_for_ssh = BootedDropletSensor.partial(
            app_id=app.id,
            task_id="wait_for_ssh",
            poke_interval=2,
            timeout=app.timeouts.boot * 2,
            map_index_template="{{ droplet_name }}",
        ).expand(droplet=wait_until_active.output)
        # Beside the wait for all droplets: a reserved IP leaves a proxy that is off.
        entry_point = EntryPointOperator(app_id=app.id, task_id="entry_point")
        print_fleet = PrintFleetOperator(app_id=app.id, task_id="print_fleet")
        report = ReportOperator(
            app_id=app.id, task_id="report", subject=SUBJECT, needs_confirmation=False
        ).as_teardown(on_failure_fail_dagrun=True)

        chain(lock, create_droplets, wait_until_active, wait_for_ssh, print_fleet, report)
        chain(create_droplets, entry_point, print_fleet)
        announce(report)
    return dag


globals().update(dags_for_every_app(provision_dag, "bluegreen_provision"))
