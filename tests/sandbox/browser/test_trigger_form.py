"""A deploy from the browser, as a person does it; the pictures stay in ``build/browser``."""

from __future__ import annotations

import pytest

from demo.airflow_settings import ROOT
from demo.client import Run
from demo.environment import APP
from tests.sandbox.browser.browser import browser
from tests.sandbox.stack import RUN_SECONDS, Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

DAG = f"bluegreen_deploy__{APP}"


def test_a_deploy_is_triggered_by_the_form_which_refuses_a_bad_ref(stack: Stack) -> None:
    client, ref = stack.client, stack.other_ref()
    known = {run["dag_run_id"] for run in client.items(f"dags/{DAG}/dagRuns", "dag_runs")}

    def new_runs() -> list[str]:
        runs = client.items(f"dags/{DAG}/dagRuns", "dag_runs")
        return [run["dag_run_id"] for run in runs if run["dag_run_id"] not in known]

    with browser(ROOT / "build" / "browser") as page:
        page.open(f"{stack.airflow.url}/dags/{DAG}")
        page.type_into("username", stack.airflow.user)
        page.type_into("password", stack.airflow.password)
        page.click("Sign in")
        page.read("bluegreen_deploy")
        page.open(f"{stack.airflow.url}/dags/{DAG}")
        page.picture("dag")

        page.click("Trigger")
        page.type_into("element_ref", "v1; reboot")
        page.picture("form")
        page.click("How careful to be")
        page.click("Trigger")
        page.read("does not match")
        page.picture("refused")
        assert new_runs() == []

        page.click("Run Parameters")
        page.type_into("element_ref", ref)
        page.type_into("element_reason", "from the browser")
        page.click("Trigger")
        until(lambda: bool(new_runs()), "the run is there")
        [run_id] = new_runs()
        run = Run(DAG, run_id, 0)
        page.open(f"{stack.airflow.url}/dags/{DAG}/runs/{run_id}")
        page.read("switch_traffic")
        page.run_state("Running")
        page.read(f"deploy of {ref}")
        page.picture("running")

        # Who watches the page sees the end without loading it again.
        ended = page.run_state("Success", "Failed", seconds=RUN_SECONDS)
        page.picture("done")
        assert ended == "Success", client.last_line(run)
        assert client.run_state(run) == "success"
        page.open(f"{stack.airflow.url}/dags/{DAG}/runs/{run_id}")
        page.read(client.last_line(run))
        page.open(f"{stack.airflow.url}/dags/{DAG}/runs/{run_id}/tasks/deploy/mapped")
        for machine in stack.machines(stack.live()):
            page.read(f"{machine.name} ({machine.address})")
        page.picture("droplets")
    assert stack.live_ref() == ref
