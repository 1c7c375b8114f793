"""The app files as a whole: a DAG that says where to begin if there are none, and files that are no app's.

Airflow shows files that are no app's as an import error of this file. The DAGs of all apps stay as they are.
"""

from __future__ import annotations

from bluegreen.dag_building.every_app import refuse_unused_files
from bluegreen.dag_building.getting_started import getting_started

globals().update(getting_started())
refuse_unused_files()
