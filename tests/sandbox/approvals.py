"""Runs that wait for an approval, for several modules of tests."""

from __future__ import annotations

from typing import Any

from demo.client import Run
from tests.sandbox.stack import RUN_SECONDS, Ended, Stack
from tests.waiting import until


def ask(stack: Stack, ref: str, **conf: Any) -> tuple[Run, str]:
    """Trigger a deploy that needs an approval; return it and what it shows when it waits."""
    run = stack.trigger("deploy", ref=ref, reason="a *better* answer", **conf)
    client = stack.client
    until(lambda: any(task.state == "awaiting_input" for task in client.tasks(run)), "the run waits", 90)
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/approval/-1/hitlDetails"
    return run, str(client.get(path)["body"])


def end_of(stack: Stack, run: Run) -> Ended:
    state = stack.client.wait(run, RUN_SECONDS)
    return Ended(run, state, stack.client.xcom(run, "report", "report"))


def note_of(stack: Stack, run: Run) -> str | None:
    """What Airflow's list of runs shows beside a run."""
    note: str | None = stack.client.get(f"dags/{run.dag_id}/dagRuns/{run.run_id}")["note"]
    return note
