"""What is registered with Airflow; operators, hooks and sensors are imported from the package as they are."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from bluegreen import dag_building, operators, sensors
from bluegreen.agent_bundle import agent_bundle, droplet_version
from bluegreen.api.early_answers import EarlyAnswers
from bluegreen.listeners import metrics, run_note
from bluegreen.operators.support.links import CommitLink, DropletLink
from bluegreen.page.site import PREFIX, Page

# Libraries that operators import late, and that take long: together 1.4 s of CPU per task on two cores. The
# last three are what Airflow itself imports late in the process of each task, to read the DAG's file.
SLOW_TO_IMPORT = (
    "paramiko",
    "requests",
    "pydo",
    "azure.core.pipeline.policies",
    "airflow.dag_processing.dagbag",
    "airflow.providers.common.io.assets.file",
    "airflow.providers.standard.operators.empty",
)


class BlueGreenPlugin(AirflowPlugin):
    """Makes the package's presence visible in Admin > Plugins, and its tasks start quickly.

    The LocalExecutor forks its tasks from the scheduler. What the scheduler has imported when it loads its
    plugins (at its start with ``[core] lazy_load_plugins = False``), the tasks need not import again.
    """

    name = "bluegreen"
    operator_extra_links = [DropletLink(), CommitLink()]  # noqa: RUF012
    listeners = [run_note, metrics]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": EarlyAnswers, "args": [], "kwargs": {}, "name": "bluegreen early answers"}
    ]
    fastapi_apps = [{"app": Page(), "url_prefix": PREFIX, "name": "bluegreen deployments"}]  # noqa: RUF012
    # A page of its own: what Airflow frames in a page of its UI cannot lead to another one. It is in a menu,
    # because Airflow 3.3.2 makes a button that does nothing of such a link beside the menus.
    external_views = [  # noqa: RUF012
        {"name": "Deployments", "href": f"{PREFIX[1:]}/", "destination": "nav", "category": "browse"}
    ]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Prepare what the tasks will need: every operator and sensor, the slow libraries, and the agent."""
        for module in (*SLOW_TO_IMPORT, *_modules_of_dags()):
            importlib.import_module(module)
        # Kept from then on: to pack and compress the agent takes each task 0.03 s of CPU.
        droplet_version()
        _ = agent_bundle().compressed


def _modules_of_dags() -> list[str]:
    """Return the names of the modules that the DAG files import: 0.2 s of CPU per task on two cores."""
    return [
        f"{package.__name__}.{module.name}"
        for package in (dag_building, operators, sensors)
        for module in pkgutil.iter_modules(package.__path__)
    ]
