"""No DAG: Airflow shows here, as an import error, which files beside the apps' own make no app.

The DAGs of all apps stay as they are.
"""

from __future__ import annotations

from bluegreen.dag_building.every_app import refuse_unused_files

refuse_unused_files()
