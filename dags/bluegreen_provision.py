"""Create the droplets that the settings ask for, and the address in front of them that clients connect to.

Existing droplets are adopted, so a second run changes nothing.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.operators.create_droplets import CreateDropletsOperator
from bluegreen.operators.entry_point import EntryPointOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.print_fleet import PrintFleetOperator
from bluegreen.sensors.wait_for_ssh import BootedDropletSensor
from bluegreen.sensors.wait_until_active import ActiveDropletsSensor
from bluegreen.settings.app import App

SUBJECT = (
    "provisioning{% set found = ti.xcom_pull(task_ids='entry_point') %}"
    "{% if found %} (clients find the app at {{ found.address }}){% endif %}"
)


def provision_dag(app: App) -> DAG:
    """Build the provision DAG of one app."""
    with dag_of("provision", app, __doc__) as dag:
        lock = AcquireLockOperator(
            task_id="lock",
            purpose="provisioning",
            reachable_only=True,
            # Nothing there renews it: as long as everything in this DAG may take.
            lease=app.timeouts.boot * 3,
        )
        create_droplets = CreateDropletsOperator(task_id="create_droplets")
        # Airflow's own timeouts are backstops; the sensors end by themselves and say what is missing.
        wait_until_active = ActiveDropletsSensor(
            task_id="wait_until_active", poke_interval=2, timeout=app.timeouts.boot * 2
        )
        wait_for_ssh = BootedDropletSensor.partial(
            task_id="wait_for_ssh",
            poke_interval=2,
            timeout=app.timeouts.boot * 2,
            map_index_template="{{ droplet_name }}",
        ).expand(droplet=wait_until_active.output)
        # Beside the wait for all droplets: a reserved IP leaves a proxy that is off.
        entry_point = EntryPointOperator(task_id="entry_point")
        print_fleet = PrintFleetOperator(task_id="print_fleet")
        report = report_and_announce(SUBJECT, needs_confirmation=False)

        chain(lock, create_droplets, wait_until_active, wait_for_ssh, print_fleet, report)
        chain(create_droplets, entry_point, print_fleet)
    return dag


globals().update(dags_for_every_app(provision_dag, "bluegreen_provision"))
