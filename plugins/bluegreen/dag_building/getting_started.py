"""The DAG that a fresh installation shows until there is an app file."""

from __future__ import annotations

import logging

from airflow.sdk import DAG, task

from bluegreen.dag_building.task_docs import documented
from bluegreen.settings.app_files import REFERENCE, app_ids, apps_directories

DAG_ID = "bluegreen_getting_started"

_log = logging.getLogger(__name__)


def getting_started() -> dict[str, DAG]:
    """Return a DAG whose documentation says where to begin; nothing if an app has a file."""
    if app_ids():
        return {}
    directories = " or ".join(f"`{directory}`" for directory in apps_directories())
    text = (
        "**There is no app yet.** Each app is one YAML file; its DAGs appear within minutes.\n\n"
        f"1. Copy `{REFERENCE}` to {directories}, as `<app>.yaml`.\n"
        "2. Set your repository, region, droplet size, SSH key, tag and preview host in it.\n"
        "3. Create the connections that its section `connections` names, under *Admin → Connections*.\n"
        "4. Trigger `bluegreen_provision__<app>`, then `bluegreen_deploy__<app>`.\n\n"
        "`docs/install.md` of the project has every step."
    )
    with DAG(DAG_ID, schedule=None, doc_md=text, tags=["bluegreen"], is_paused_upon_creation=False) as dag:

        @task(task_id="getting_started")
        def show() -> None:
            _log.info(text)

        show()
    return {DAG_ID: documented(dag)}
