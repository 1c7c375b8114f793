"""Where the links beside a real run's tasks lead, as Airflow's UI asks for them."""

from __future__ import annotations

from typing import Any

import pytest

from demo.client import Run, Task
from tests.sandbox.app_file import DEPLOY
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def last_good_deploy(stack: Stack) -> Run:
    runs = stack.client.items(f"dags/{DEPLOY}/dagRuns", "dag_runs")
    good = [Run(DEPLOY, run["dag_run_id"], 0) for run in runs if run["state"] == "success"]
    live = [
        run for run in good if stack.client.xcom(run, "report", "report")["outcome"] == "live and confirmed"
    ]
    return live[-1]


def links(stack: Stack, run: Run, task: Task) -> dict[str, Any]:
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task.task_id}/links"
    found: dict[str, Any] = stack.client.get(path, map_index=task.map_index)["extra_links"]
    return found


def test_tasks_lead_to_their_droplet_and_to_the_commit(stack: Stack) -> None:
    run = last_good_deploy(stack)
    revision = stack.client.xcom(run, "resolve_ref")
    commit = {"Commit": f"{stack.sandbox.git_url}/my_perl_app/commit/{revision}"}
    expected = {"resolve_ref": commit, "switch_traffic": commit}
    tasks = stack.client.tasks(run)
    found = {task.task_id: links(stack, run, task) for task in tasks if task.task_id in expected}
    assert found == expected

    on_droplets = [task for task in tasks if task.map_index >= 0]
    assert {task.task_id for task in on_droplets} == {"deploy"}
    for task in on_droplets:
        droplet = stack.sandbox.machine(task.label.split()[0]).droplet_id
        panel = {"Droplet at DigitalOcean": f"https://cloud.digitalocean.com/droplets/{droplet}"}
        assert links(stack, run, task) == panel | commit
