"""What a deploy costs besides its jobs and its bake: beside empty tasks, and with 25 droplets a color."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.airflow import AirflowStack
from demo.airflow_settings import ROOT
from demo.app_settings import app_settings
from demo.environment import APP, DemoEnvironment
from sandbox import Sandbox
from tests.sandbox.benchmark.overhead import Cost, cost_of, seconds_of
from tests.sandbox.examples.example_fleets import ExampleFleet
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1800)]

RESULT = ROOT / "build" / "benchmark_deploy.json"
CHAIN = Path(__file__).parent / "chain" / "empty_chain.py"
KINDS = ("provision", "deploy")
# Two apps of one repository, by their droplets a color.
MANY = "many_droplets"
DROPLETS = {APP: 2, MANY: 25}
# What is measured are deploys of releases that were built before.
BUILT, MEASURED = ("v1", "v2"), ("v1", "v2", "v1")


class Benchmark:
    """Both fleets, and the empty chain.

    :param dags: Airflow's directory of DAG files.
    """

    def __init__(self, environment: DemoEnvironment, airflow: AirflowStack, dags: Path) -> None:
        self._fleets = {app: ExampleFleet(app, environment, airflow) for app in DROPLETS}
        self._client = airflow.client()
        self._dags = dags
        self._figures: dict[str, Any] = {}

    def prepare(self, app: str) -> None:
        """Provision an app's fleet, and build what is deployed later."""
        self._fleets[app].run("provision").expect("done")
        for ref in BUILT:
            self.deploy(app, ref)

    def deploy(self, app: str, ref: str) -> Cost:
        """Deploy a release; return what that cost."""
        return cost_of(self._client, self._fleets[app].run("deploy", ref=ref).expect("live and confirmed"))

    def make_chain(self, tasks: int) -> None:
        """Add the DAG of the empty chain, and wait until Airflow knows it."""
        (self._dags / "empty_chain.tasks").write_text(str(tasks))
        shutil.copy(CHAIN, self._dags)
        until(lambda: CHAIN.stem in self._client.dag_ids(), "Airflow knows the empty chain", 60)

    def chain(self) -> float:
        """Run the empty chain; return its seconds."""
        run = self._client.trigger(CHAIN.stem)
        assert self._client.wait(run) == "success"
        return seconds_of(self._client, run)

    def write(self, **figures: Any) -> None:
        """Add figures to the file."""
        self._figures |= figures
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(self._figures, indent=2) + "\n")


@pytest.fixture(scope="module")
def benchmark(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    directory = tmp_path_factory.mktemp("benchmark")
    environment = DemoEnvironment(sandbox, directory / "environment", bake=2)
    environment.prepare()
    settings: dict[str, Any] = app_settings(MANY, f"{sandbox.git_url}/{APP}.git")
    settings["fleet"] |= {"droplets_per_color": DROPLETS[MANY], "size": "s-1vcpu-512mb-10gb"}
    settings["validation"] |= {"bake": 2}
    file = environment.directory / "apps" / f"{MANY}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    dags = directory / "dags"
    shutil.copytree(ROOT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    variables = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), **environment.variables()}
    airflow = AirflowStack(directory / "airflow", extra=variables)
    with airflow:
        airflow.start([f"bluegreen_{kind}__{app}" for app in DROPLETS for kind in KINDS])
        yield Benchmark(environment, airflow, dags)


@pytest.fixture(scope="module")
def few(benchmark: Benchmark) -> list[tuple[Cost, float]]:
    """Return what deploys to two droplets a color cost, each with the seconds of the chain right after it."""
    benchmark.prepare(APP)
    costs = [benchmark.deploy(APP, MEASURED[0])]
    benchmark.make_chain(costs[0].tasks)
    chains = [benchmark.chain()]
    for ref in MEASURED[1:]:
        costs.append(benchmark.deploy(APP, ref))
        chains.append(benchmark.chain())
    benchmark.write(deploys=shown(costs), chains=chains)
    return list(zip(costs, chains, strict=True))


def shown(costs: Sequence[Cost]) -> list[dict[str, float]]:
    """Return deploys as they are written down."""
    return [asdict(cost) | {"overhead": cost.overhead} for cost in costs]


def test_a_deploy_takes_at_most_twice_a_chain_of_as_many_empty_tasks(
    benchmark: Benchmark, few: list[tuple[Cost, float]]
) -> None:
    assert len({cost.tasks for cost, _ in few}) == 1
    ratio = statistics.median(cost.overhead / chain for cost, chain in few)
    benchmark.write(times_the_chain=round(ratio, 2))
    assert ratio <= 2


def test_25_droplets_a_color_take_at_most_half_as_long_again_as_two(
    benchmark: Benchmark, few: list[tuple[Cost, float]]
) -> None:
    benchmark.prepare(MANY)
    many = [benchmark.deploy(MANY, ref) for ref in MEASURED]
    ratio = statistics.median(cost.overhead for cost in many) / statistics.median(
        cost.overhead for cost, _ in few
    )
    benchmark.write(many_droplets=shown(many), times_two_droplets=round(ratio, 2))
    assert ratio <= 1.5
