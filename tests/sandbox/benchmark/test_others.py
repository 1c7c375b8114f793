"""The same release on the same machines, under the same clients: this project, a tutorial, Ansible."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.airflow import AirflowStack
from demo.airflow_settings import ROOT
from demo.app_settings import app_settings
from demo.environment import APP, DemoEnvironment
from sandbox import Machine, Sandbox
from sandbox.traffic_records import Record, Summary, read, summarize
from tests.sandbox.benchmark.contenders import (
    REPOSITORY,
    Attempt,
    Contender,
    Green,
    Playbook,
    Scripts,
    ThisProject,
)
from tests.sandbox.examples.example_fleets import ExampleFleet
from tests.sandbox.stack import NOTICED_SOON, live_on, start_judge, stop_judge
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(3600)]

RESULT = ROOT / "build" / "benchmark_others.json"
# Apps of one repository, by their droplets a color.
DROPLETS = {APP: 2, "ten_droplets": 10, "many_droplets": 25}
RELEASES = ("v1", "v2")
# Of steady traffic, for its latency; after a fault, until nobody does anything more.
STEADY_SECONDS, AFTER_FAULT_SECONDS = 15.0, 45.0
PREPARED_TOGETHER = 4
# Bytes at the end of the judge's records, about a second; the color's field in a record.
LATELY, COLOR = 12_000, 6
FAULTS = ("a droplet dies", "the release is bad", "the release is bad and the deployer is killed")


@dataclass(frozen=True)
class Measured:
    """One deploy under load.

    :param to_traffic: seconds until the last request that the old color answered.
    :param whole: seconds until it said that it had ended.
    :param processor: seconds of CPU on the controlling side.
    """

    to_traffic: float
    whole: float
    processor: float
    requests: int
    failed: int


@dataclass(frozen=True)
class Aftermath:
    """What a fault led to.

    :param said: its last line; empty if it was killed.
    :param good: whether it said that all was well.
    :param failed: requests that got no answer, or an error, until nobody did anything more.
    :param serves: who answers at the end: ``old`` or ``new``.
    :param failing: percentage of the requests that fail at the end.
    """

    said: str
    good: bool
    requests: int
    failed: int
    serves: str
    failing: float


class Ground:
    """One fleet, its clients, and all contenders."""

    def __init__(
        self, environment: DemoEnvironment, airflow: AirflowStack, app: str, directory: Path
    ) -> None:
        self.fleet = ExampleFleet(app, environment, airflow)
        self.airflow = airflow
        self._environment = environment
        self._directory = directory
        self._directory.mkdir()

    @contextmanager
    def clients(self) -> Iterator[None]:
        """Clients that ask all the time."""
        process, self._judge = start_judge(self.fleet.url, self._directory)
        try:
            yield
        finally:
            stop_judge(process)

    def records(self, since: float, until: float | None = None) -> list[Record]:
        """Return what became of the requests that started in a window of time."""
        chosen = (one for one in read(self._judge.records) if one.start >= since)
        return [one for one in chosen if until is None or one.start < until]

    def ours(self) -> ThisProject:
        """Provision, and build what is measured; blue has the traffic then."""
        self.fleet.run("provision").expect("done")
        ours = ThisProject(self.fleet, self.airflow)
        for ref in RELEASES:
            assert ours.deploy(ref).good
        return ours

    def others(self) -> tuple[Scripts, list[Playbook]]:
        """Give the green droplets what scripts and playbook expect: git, a user, the repository."""
        if live_on(self.fleet.proxy()) == "green":
            self.fleet.run("rollback").expect("live and confirmed")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(self._environment.sandbox.repositories / f"{APP}.git", "app.git")
        blue, green = self._droplets("blue"), self._droplets("green")
        with ThreadPoolExecutor(PREPARED_TOGETHER) as pool:
            list(pool.map(lambda machine: self._prepare(machine, packed.getvalue()), green))
        # What scripts and playbook know of: HAProxy as Debian starts it, as root.
        own = "/etc/systemd/system/haproxy.service.d"
        self.fleet.proxy().run(f"rm -r {own} && systemctl daemon-reload && systemctl restart haproxy")
        key = self._environment.directory / "id_ed25519"
        fleet = Green(self.fleet.proxy(), blue, green, key, self._environment.revisions)
        playbooks = [
            Playbook("Ansible", fleet, self._directory, mitogen=False),
            Playbook("Ansible with mitogen", fleet, self._directory, mitogen=True),
        ]
        return Scripts("scripts", fleet, self._directory), playbooks

    def green_is_free(self) -> None:
        """Stop whatever listens on the green droplets."""
        stop = f"systemctl stop {self.fleet.system_name} ansible_app; pkill -f 'starman master'"
        for machine in self._droplets("green"):
            machine.run(
                f"{stop}; while ss -Hltn 'sport = :8080' | grep -q .; do sleep 0.1; done", check=False
            )

    def measure(self, contender: Contender, ref: str) -> Measured:
        """Deploy under load."""
        attempt = contender.deploy(ref)
        return self.measured(attempt)

    def measured(self, attempt: Attempt) -> Measured:
        """Return what a deploy took, and what clients noticed."""
        assert attempt.good, attempt.words
        records = self.records(attempt.began, attempt.ended)
        colors = [one.color for one in records if one.color]
        last_old = max(one.start for one in records if one.color == colors[0])
        assert colors[-1] != colors[0]
        return Measured(
            to_traffic=round(last_old - attempt.began, 1),
            whole=round(attempt.ended - attempt.began, 1),
            processor=round(attempt.processor, 1),
            requests=len(records),
            failed=len(_failed(records)),
        )

    def steady(self) -> Summary:
        """Return the latency of traffic during which nobody deploys."""
        since = time.time()
        until(lambda: time.time() - since > STEADY_SECONDS, "there are enough requests", 2 * STEADY_SECONDS)
        return summarize(self.records(since))

    def suffer(self, contender: Contender, fault: str) -> Aftermath:
        """Deploy, let a fault happen, and look at what is left."""
        since, old = time.time(), self._answering()
        dies, killed = fault == "a droplet dies", fault.endswith("killed")
        victim = self._droplets("green" if old == "blue" else "blue")[-1]
        contender.begin(RELEASES[1] if dies else "v4-bad")
        attempt = None
        if killed:
            until(lambda: self._answering() not in ("", old), "traffic moves", 120)
            contender.kill()
        else:
            if dies:
                victim.power_off()
            attempt = contender.end()
        over = time.time()
        until(lambda: time.time() - over > AFTER_FAULT_SECONDS, "nobody does anything more", 90)
        records, last = self.records(since), self.records(time.time() - 5)
        if dies:
            victim.power_on()
            victim.wait_ready()
        answered = {one.color for one in last if one.color}
        return Aftermath(
            said=attempt.words if attempt else "",
            good=bool(attempt and attempt.good),
            requests=len(records),
            failed=len(_failed(records)),
            serves="old" if answered == {old} else "new" if old not in answered else "both",
            failing=round(100 * len(_failed(last)) / max(len(last), 1), 1),
        )

    def give_back(self, scripts: Scripts) -> None:
        """Send all traffic to blue, before the next contender moves it."""
        scripts.give_back()
        until(lambda: self._answering() == "blue", "blue has the traffic")

    def _answering(self) -> str:
        """Return which color alone has answered lately."""
        with self._judge.records.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LATELY))
            fields = [line.split("\t") for line in file.read().decode().split("\n")[1:-1]]
        colors = {line[COLOR] for line in fields if line[COLOR]}
        return colors.pop() if len(colors) == 1 else ""

    def _droplets(self, color: str) -> list[Machine]:
        found = [machine for machine in self.fleet.machines() if f"env:{color}" in machine.tags]
        return sorted(found, key=lambda machine: machine.name)

    def _prepare(self, machine: Machine, packed: bytes) -> None:
        machine.run("apt-get update -q && apt-get install -qy --no-install-recommends git", seconds=300)
        machine.run(["systemctl", "disable", "--now", self.fleet.system_name])
        machine.run(["useradd", "--create-home", "deploy"])
        machine.run(["tar", "--extract", "--directory=/srv"], text=packed)
        machine.run(
            f"git config --system safe.directory '*' && chown -R deploy {REPOSITORY} && chmod 1777 /opt"
        )


def _failed(records: Sequence[Record]) -> list[Record]:
    """Return the requests that a client would call failed: without an answer, or with an error."""
    return [one for one in records if one.outcome != "ok"]


class Figures:
    """What is written down."""

    def __init__(self) -> None:
        self._all: dict[str, Any] = {}

    def add(self, *path: str, value: Any) -> None:
        """Add a value, and write everything: an end half-way keeps what there is."""
        place = self._all
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(self._all, indent=2) + "\n")
        print(*path, value)


@pytest.fixture(scope="module")
def figures() -> Figures:
    return Figures()


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, ...]]:
    directory = tmp_path_factory.mktemp("benchmark")
    environment = DemoEnvironment(sandbox, directory / "environment", bake=2)
    environment.prepare()
    for app, droplets in DROPLETS.items():
        settings: dict[str, Any] = app_settings(app, f"{sandbox.git_url}/{APP}.git")
        settings["fleet"] |= {"droplets_per_color": droplets, "size": "s-1vcpu-512mb-10gb"}
        settings["validation"] |= {"bake": 2}
        settings["server"] = {"workers": 4}
        file = environment.directory / "apps" / f"{app}.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
    airflow = AirflowStack(directory / "airflow", extra={**NOTICED_SOON, **environment.variables()})
    kinds = ("provision", "deploy", "rollback")
    with airflow:
        airflow.start([f"bluegreen_{kind}__{app}" for app in DROPLETS for kind in kinds])
        yield environment, airflow, directory


@pytest.mark.parametrize("app", DROPLETS)
def test_a_deploy_beside_scripts_and_a_playbook(
    world: tuple[DemoEnvironment, AirflowStack, Path], figures: Figures, app: str
) -> None:
    environment, airflow, directory = world
    ground, droplets = Ground(environment, airflow, app, directory / app), str(DROPLETS[app])
    ours = ground.ours()
    with ground.clients():
        results = {ours.name: [ground.measure(ours, ref) for ref in (*RELEASES, RELEASES[0])]}
        figures.add(droplets, ours.name, value=[asdict(one) for one in results[ours.name]])
        if app == APP:
            figures.add("latency", ours.name, value=_latency(ground.steady()))
            for fault in FAULTS:
                figures.add("faults", fault, ours.name, value=asdict(ground.suffer(ours, fault)))
            ours.revive()
        scripts, playbooks = ground.others()
        for contender in (scripts, *playbooks):
            ground.green_is_free()
            for number, ref in enumerate((RELEASES[0], RELEASES[1], RELEASES[0])):
                ground.give_back(scripts)
                measured = ground.measure(contender, ref)
                # The first one installs the dependencies.
                if number:
                    results.setdefault(contender.name, []).append(measured)
            figures.add(droplets, contender.name, value=[asdict(one) for one in results[contender.name]])
        if app == APP:
            figures.add("latency", scripts.name, value=_latency(ground.steady()))
            for contender in (scripts, playbooks[0]):
                for fault in FAULTS:
                    ground.give_back(scripts)
                    figures.add(
                        "faults", fault, contender.name, value=asdict(ground.suffer(contender, fault))
                    )
    assert sum(one.failed for one in results[ours.name]) == 0


def _latency(seen: Summary) -> dict[str, float]:
    return {"p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms}
