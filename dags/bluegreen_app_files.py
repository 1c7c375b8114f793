"""The app files as a whole: a DAG that says where to begin if there are none, and an import error for others.

Airflow shows files that are not app files as an import error of this file. It affects no app's DAGs.
"""

from __future__ import annotations

from bluegreen.dag_building.every_app import refuse_unused_files
from bluegreen.dag_building.getting_started import getting_started

globals().update(getting_started())
refuse_unused_files()
