"""What a run costs besides the work that it is for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from demo.client import AirflowClient, Run
from tests.sandbox.stack import Ended


@dataclass(frozen=True)
class Cost:
    """One deploy, in seconds.

    :param whole: from when it was asked for until it had ended.
    :param jobs: of the builder's job and of the slowest droplet's.
    :param bake: how long the switch was watched.
    :param tasks: how many task instances ran.
    """

    whole: float
    jobs: float
    bake: float
    tasks: int

    @property
    def overhead(self) -> float:
        """What is left without jobs and bake."""
        return self.whole - self.jobs - self.bake


def cost_of(client: AirflowClient, ended: Ended) -> Cost:
    """Return what a deploy cost that ended well."""
    run = ended.run
    ran = [task for task in client.tasks(run) if task.state == "success"]
    indexes = [task.map_index for task in ran if task.task_id == "deploy"]
    results = [client.xcom(run, "deploy", map_index=index) for index in indexes]
    built = float(client.xcom(run, "build", "job_seconds") or 0.0)
    return Cost(
        whole=seconds_of(client, run),
        jobs=built + max(float(result["job_seconds"]) for result in results),
        bake=float(client.xcom(run, "final_validation")["bake_seconds"]),
        tasks=len(ran),
    )


def seconds_of(client: AirflowClient, run: Run) -> float:
    """Return the seconds from when a run was asked for until it had ended."""
    shown = client.get(f"dags/{run.dag_id}/dagRuns/{run.run_id}")
    asked, ended = (datetime.fromisoformat(shown[moment]) for moment in ("queued_at", "end_date"))
    return (ended - asked).total_seconds()
