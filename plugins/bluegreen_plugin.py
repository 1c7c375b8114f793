"""What is registered with Airflow; operators, hooks and sensors are imported from the package as they are."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class BlueGreenPlugin(AirflowPlugin):
    """Makes the package's presence visible in Admin > Plugins."""

    name = "bluegreen"
