"""A release on four droplets: built once and shipped, beside a shell script's steps on the same machines."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.airflow import AirflowStack
from demo.airflow_settings import ROOT
from demo.app_settings import app_settings
from demo.client import Task
from demo.environment import DemoEnvironment
from sandbox import Machine, Sandbox
from tests.sandbox.benchmark.measured_app import build_repository
from tests.sandbox.examples.example_fleets import ExampleFleet
from tests.sandbox.stack import NOTICED_SOON, live_on
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1500)]

APP = "measured"
DROPLETS = 4
STEPS = Path(__file__).with_name("tutorial_steps.sh")
RESULT = ROOT / "build" / "benchmark.json"
# Of each droplet's release: the manifest, and then all that the manifest speaks of, read from the disk.
TREES = """
cd /opt/{name}/current/
sha256sum .bluegreen/manifest
find . -path ./.bluegreen/manifest -prune -o -printf '%P %y %m %l\\n' | sort | sha256sum
find . -type f ! -path ./.bluegreen/manifest -print0 | sort -z | xargs -0 sha256sum | sha256sum
"""
SCRIPT_TREES = (
    "cd /opt/your_perl_app && find . -type f ! -path './.git/*' -print0 | sort -z | xargs -0 sha256sum"
)


@dataclass(frozen=True)
class Seconds:
    """How long a release takes to be on four droplets, running.

    :param whole: with all pauses, and with what is between tasks.
    :param work: without: what the droplets do, one droplet after the other if that is how it is done.
    """

    whole: float
    work: float


@dataclass(frozen=True)
class Figures:
    """What was measured.

    :param first_there: a color's first release, with the dependencies that the other color has built.
    :param trees: by color: what is on each droplet.
    :param script_trees: digest of the files on each droplet, as the script's steps have left them.
    """

    distributions: int
    xs_modules: int
    cold: Seconds
    first_there: Seconds
    unchanged: Seconds
    script_cold: Seconds
    script_unchanged: Seconds
    trees: dict[str, list[str]]
    script_trees: list[str]


class Benchmark:
    """The app with its fleet, and both ways to bring a release to droplets."""

    def __init__(
        self, environment: DemoEnvironment, airflow: AirflowStack, revisions: dict[str, str]
    ) -> None:
        self.fleet = ExampleFleet(APP, environment, airflow)
        self.revisions = revisions
        self._sandbox = environment.sandbox
        self._client = airflow.client()

    def idle_droplets(self) -> list[Machine]:
        """Return the droplets of the color that has no traffic."""
        idle = "green" if live_on(self.fleet.proxy()) == "blue" else "blue"
        return self.droplets(idle)

    def droplets(self, color: str) -> list[Machine]:
        """Return a color's droplets, by name."""
        found = [machine for machine in self.fleet.machines() if f"env:{color}" in machine.tags]
        return sorted(found, key=lambda machine: machine.name)

    def deploy(self, ref: str) -> Seconds:
        """Deploy a release; the time is from the beginning of ``build`` to the end of the last ``deploy``."""
        run = self.fleet.run("deploy", ref=ref).expect("live and confirmed").run
        tasks = self._client.tasks(run)
        [build] = [task for task in tasks if task.task_id == "build"]
        deploys = [task for task in tasks if task.task_id == "deploy"]
        assert len(deploys) == DROPLETS
        results = [self._client.xcom(run, "deploy", map_index=task.map_index) for task in deploys]
        built = float(self._client.xcom(run, "build", "job_seconds"))
        return Seconds(
            whole=max(map(_end, deploys)) - (_end(build) - build.seconds),
            work=built + max(float(result["job_seconds"]) for result in results),
        )

    def prepare_script(self) -> list[Machine]:
        """Give the idle droplets what the script expects: git, its user, the repository, and a free port."""
        machines = self.idle_droplets()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(self._sandbox.repositories / f"{APP}.git", "app.git")
        for machine in machines:
            machine.run("apt-get update -q && apt-get install -qy --no-install-recommends git", seconds=120)
            machine.run(["systemctl", "stop", self.fleet.system_name])
            machine.run(["useradd", "--create-home", "deploy"])
            # The forge cannot be reached from a droplet, so the clone is from the droplet's own disk.
            machine.run(["tar", "--extract", "--directory=/srv"], text=packed.getvalue())
            machine.run("chown -R deploy /srv/app.git && chmod 1777 /opt")
        return machines

    def run_script(self, machines: list[Machine], ref: str) -> Seconds:
        """Run the script's steps on one droplet after the other, as the script does."""
        steps = ["bash", "-s", "--", "/srv/app.git", "/opt/your_perl_app", self._sandbox.cpan_url]
        began, work = time.monotonic(), 0.0
        for machine in machines:
            move = ["git", "-C", "/srv/app.git", "update-ref", "refs/heads/main", self.revisions[ref]]
            machine.run(["runuser", "-u", "deploy", "--", *move])
            work += float(machine.run(steps, text=STEPS.read_text(), seconds=300).stdout)
        whole = time.monotonic() - began
        for machine in machines:
            _wait_until_it_serves(machine, ref)
        return Seconds(whole, work)

    def trees(self, color: str) -> list[str]:
        """Return digests of the release on each droplet of a color."""
        search = TREES.format(name=self.fleet.system_name)
        return [machine.run(search).stdout for machine in self.droplets(color)]

    def closure(self) -> tuple[int, int]:
        """Return how many distributions a release has, and how many modules with compiled parts."""
        local = f"/opt/{self.fleet.system_name}/current/local/lib/perl5"
        count = f"ls -d {local}/*/.meta/* | wc -l; find {local} -name '*.so' | wc -l"
        shown = self.droplets(live_on(self.fleet.proxy()))[0].run(count)
        distributions, compiled = map(int, shown.stdout.split())
        return distributions, compiled


def _end(task: Task) -> float:
    return datetime.fromisoformat(task.ended).timestamp()


def _wait_until_it_serves(machine: Machine, ref: str) -> None:
    ask = ["wget", "--quiet", "--output-document=-", "http://127.0.0.1:8080/"]
    until(lambda: ref in machine.run(ask, check=False).stdout, f"{machine.name} serves {ref}")


@pytest.fixture(scope="module")
def benchmark(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Benchmark]:
    directory = tmp_path_factory.mktemp("benchmark")
    (directory / "work").mkdir()
    revisions = build_repository(sandbox.repositories / f"{APP}.git", directory / "work")
    environment = DemoEnvironment(sandbox, directory / "environment")
    environment.prepare()
    settings: dict[str, Any] = app_settings(APP, f"{sandbox.git_url}/{APP}.git")
    settings["fleet"] |= {"droplets_per_color": DROPLETS, "size": "s-2vcpu-4gb"}
    # Debian's source of YAML::XS has no copy of the library.
    settings["fleet"]["packages"] = ["libyaml-dev"]
    settings["dependencies"] = {"installer": "carton", "mirror": sandbox.cpan_url}
    settings["server"] = {"workers": 4}
    settings["health"] = {"path": "/"}
    file = environment.directory / "apps" / f"{APP}.yaml"
    file.write_text(yaml.safe_dump(settings, sort_keys=False))
    airflow = AirflowStack(directory / "airflow", extra={**NOTICED_SOON, **environment.variables()})
    with airflow:
        airflow.start([f"bluegreen_{kind}__{APP}" for kind in ("provision", "deploy")])
        benchmark = Benchmark(environment, airflow, revisions)
        benchmark.fleet.run("provision").expect("done")
        yield benchmark


@pytest.fixture(scope="module")
def figures(benchmark: Benchmark) -> Figures:
    cold = benchmark.deploy("v1")
    first_there = benchmark.deploy("v2")
    unchanged = benchmark.deploy("v3")
    distributions, compiled = benchmark.closure()
    machines = benchmark.prepare_script()
    script_cold = benchmark.run_script(machines, "v2")
    script_unchanged = benchmark.run_script(machines, "v3")
    trees = {color: benchmark.trees(color) for color in ("blue", "green")}
    script_trees = [machine.run(SCRIPT_TREES).stdout for machine in machines]
    measured = Figures(
        distributions=distributions,
        xs_modules=compiled,
        cold=cold,
        first_there=first_there,
        unchanged=unchanged,
        script_cold=script_cold,
        script_unchanged=script_unchanged,
        trees=trees,
        script_trees=script_trees,
    )
    _write(measured)
    return measured


def _write(measured: Figures) -> None:
    """Write the figures, without the trees, to a file and to the screen."""
    kept = {name: value for name, value in asdict(measured).items() if "trees" not in name}
    kept["different_trees"] = {
        "built once": max(len(set(trees)) for trees in measured.trees.values()),
        "script": len(set(measured.script_trees)),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(kept, indent=2) + "\n")
    print(RESULT.read_text())


def test_the_dependencies_are_as_many_as_a_real_app_has(figures: Figures) -> None:
    assert figures.distributions >= 60
    assert figures.xs_modules >= 10


def test_a_first_release_is_on_four_droplets_in_half_the_time(figures: Figures) -> None:
    assert figures.cold.whole * 2 <= figures.script_cold.whole
    assert figures.cold.work * 2 <= figures.script_cold.work


def test_a_release_with_unchanged_dependencies_is_on_four_droplets_in_a_third_of_the_time(
    figures: Figures,
) -> None:
    assert figures.unchanged.whole * 3 <= figures.script_unchanged.whole


def test_dependencies_that_the_other_color_has_built_are_not_built_again(figures: Figures) -> None:
    assert figures.first_there.work * 2 <= figures.cold.work


def test_four_droplets_have_the_same_bytes(figures: Figures) -> None:
    for color, trees in figures.trees.items():
        assert len(trees) == DROPLETS
        assert len(set(trees)) == 1, color
