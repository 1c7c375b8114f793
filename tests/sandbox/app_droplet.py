"""An application droplet of its own for a test, as provisioning makes it, and jobs on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import requests

from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.host_keys import generate
from bluegreen.release.jobs import (
    Claim,
    JobReport,
    JobState,
    clean_script,
    parse_job_report,
    poll_script,
    start_script,
)
from bluegreen.release.release import (
    DropletFacts,
    Release,
    deploy_script,
    deploy_unit,
    facts_script,
    parse_facts,
)
from bluegreen.release.system_names import system_name
from sandbox import Machine, Sandbox
from tests.waiting import until

APP = "my_perl_app"
SYSTEM_NAME = system_name(APP)
ROOT = f"/opt/{SYSTEM_NAME}"

COMMAND = ("starman", "--listen", "{listen}", "--workers", "{workers}", "--disable-keepalive", "{psgi}")


@contextmanager
def created(box: Sandbox, name: str) -> Iterator[Machine]:
    """A droplet that is ready, and is destroyed afterwards."""
    session = requests.Session()
    session.trust_env = False
    session.verify = box.ca_file
    session.headers["Authorization"] = f"Bearer {box.token}"
    body = {
        "name": name,
        "region": "nyc3",
        "size": "s-1vcpu-1gb",
        "image": "debian-12-x64",
        "user_data": render_user_data(app=APP, proxy=False, host_key=generate()),
    }
    answer = session.post(f"{box.api_url}/v2/droplets", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    droplet = answer.json()["droplet"]["id"]
    try:
        machine = until(lambda: _machine_with_address(box, name), "the droplet has an address")
        machine.wait_ready()
        yield machine
    finally:
        session.delete(f"{box.api_url}/v2/droplets/{droplet}", timeout=60)


def _machine_with_address(box: Sandbox, name: str) -> Machine | None:
    machine = box.machine(name)
    return machine if machine.private_address else None


@dataclass(frozen=True)
class AppDroplet:
    """A droplet and what is deployed on it."""

    machine: Machine
    repository: str

    def release(self, revision: str) -> Release:
        return Release(
            app=APP,
            repository=self.repository,
            revision=revision,
            listen_address=self.machine.private_address,
            port=8080,
            workers=2,
            command=COMMAND,
            health_timeout=30,
            min_free_mb=20,
        )

    def script(self, script: str) -> str:
        """Run a script as Airflow does: as root, on standard input."""
        return self.machine.run(["bash", "-s"], text=script).stdout

    def start(self, release: Release, run_id: str = "run-1", token: int = 1) -> str:
        """Start a deploy, and return its unit."""
        unit = deploy_unit(APP, release.revision)
        script, claim = deploy_script(release), Claim(APP, token)
        self.script(start_script(unit=unit, run_id=run_id, script=script, timeout=120, claim=claim))
        return unit

    def refusal(self, script: str) -> str:
        """Run a script that must fail, and return what it says."""
        ended = self.machine.run(["bash", "-s"], text=script, check=False)
        assert ended.returncode != 0
        return ended.stderr.strip()

    def poll(self, unit: str, cursor: int = 0, wait: float = 5) -> JobReport:
        return parse_job_report(self.script(poll_script(app=APP, unit=unit, cursor=cursor, wait=wait)))

    def finish(self, unit: str) -> JobReport:
        """Wait for a job's end, and return its report with everything that it wrote."""
        lines: tuple[str, ...] = ()
        cursor = 0
        deadline = time.monotonic() + 60
        while True:
            report = self.poll(unit, cursor)
            lines, cursor = lines + report.lines, report.cursor
            if report.state is not JobState.RUNNING:
                return replace(report, lines=lines)
            assert time.monotonic() < deadline, lines

    def deploy(self, revision: str, **changes: object) -> JobReport:
        """Deploy to the end, leaving no job behind."""
        unit = self.start(replace(self.release(revision), **changes))  # type: ignore[arg-type]
        report = self.finish(unit)
        self.script(clean_script(unit=unit))
        return report

    def facts(self) -> DropletFacts:
        return parse_facts(self.script(facts_script(APP)))

    def get(self, path: str = "/") -> requests.Response:
        """Ask the app, not by way of a proxy."""
        session = requests.Session()
        session.trust_env = False
        return session.get(f"http://{self.machine.private_address}:8080{path}", timeout=10)
