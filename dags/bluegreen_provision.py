"""Create the droplets that the settings ask for, their firewalls, and the address that clients connect to.

Existing droplets are adopted, so a second run changes nothing. A droplet that is new, or was rebuilt, gets
the release that the others of its color run.
"""

from __future__ import annotations

from airflow.sdk import DAG, chain

from bluegreen.dag_building.every_app import dag_of, dags_for_every_app, report_and_announce
from bluegreen.dag_building.processes import settle_processes
from bluegreen.operators.color_release import ColorReleaseOperator
from bluegreen.operators.create_droplets import CreateDropletsOperator
from bluegreen.operators.entry_point import EntryPointOperator
from bluegreen.operators.firewalls import FirewallsOperator
from bluegreen.operators.install_release import InstallReleaseOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.print_fleet import PrintFleetOperator
from bluegreen.sensors.wait_for_ssh import BootedDropletSensor
from bluegreen.sensors.wait_until_active import ActiveDropletsSensor
from bluegreen.settings.app import App

SUBJECT = (
    "provisioning{% set found = ti.xcom_pull(task_ids='entry_point') %}"
    "{% if found %} (clients find the app at {{ found.address }}){% endif %}"
    "{% set open = ti.xcom_pull(task_ids='firewalls', key='open') %}"
    "{% if open %} ({{ open }}){% endif %}"
    "{% set without = ti.xcom_pull(task_ids='color_release', key='without') %}"
    "{% if without %} ({{ without }}){% endif %}"
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
        firewalls = FirewallsOperator(task_id="firewalls")
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
        color_release = ColorReleaseOperator(task_id="color_release", lock=lock.output)
        install_release = InstallReleaseOperator.partial(
            task_id="install_release", map_index_template="{{ droplet_name }}", lock=lock.output
        ).expand(missing=color_release.output)
        # Mostly no droplet lacks its release.
        print_fleet = PrintFleetOperator(task_id="print_fleet", trigger_rule="none_failed")
        report = report_and_announce(SUBJECT, needs_confirmation=False, may_be_skipped=["install_release"])

        chain(lock, firewalls, create_droplets, wait_until_active, wait_for_ssh)
        chain(wait_for_ssh, color_release, install_release, print_fleet, report)
        chain(create_droplets, entry_point, print_fleet)
        settle_processes(app, lock, after=install_release, before=[report], trigger_rule="none_failed")
    return dag


globals().update(dags_for_every_app(provision_dag, "bluegreen_provision"))
