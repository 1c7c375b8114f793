"""An application droplet of its own for a test, as provisioning makes it, and jobs on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import requests

from agent.protocol import READERS, Verb
from bluegreen.agent_bundle import agent_bundle, memory_command, memory_input
from bluegreen.checks.facts import AppServer
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.host_keys import generate
from bluegreen.release.cage import CAGE
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.lifecycle_commands import command_program
from bluegreen.release.release import Release, deploy_program, deploy_unit
from bluegreen.release.system_names import BUILD_USER, FETCH_USER, system_name
from bluegreen.settings.hooks import Hook
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


class Ended(JobReport):
    """How a job stands or ended, and what it wrote."""

    lines: tuple[str, ...]


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
            psgi="app.psgi",
            keep_releases=5,
            stop_timeout=60,
            health_path="/health",
            health_host=None,
            https=False,
            health_statuses=(),
            healthy_threshold=3,
            health_timeout=30,
            min_free_mb=20,
        )

    def ask(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call the agent as Airflow does, and return its answer, which may be a refusal."""
        request = {"app": SYSTEM_NAME, **request}
        if verb in READERS:
            said = self.machine.run(memory_command(verb), text=memory_input(request), check=False)
        else:
            self.machine.run(memory_command(Verb.INSTALL_AGENT), text=memory_input({}))
            command = ["python3", agent_bundle().path, verb.value, "-"]
            said = self.machine.run(command, text=json.dumps(request), check=False)
        answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
        return {**answer, "progress": [json.loads(line) for line in said.stdout.splitlines()[:-1]]}

    def call(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call the agent, which must not refuse."""
        answer = self.ask(verb, **request)
        assert answer["ok"], answer
        return answer

    def refusal(self, verb: Verb, **request: Any) -> str:
        """Call the agent, which must refuse, and return what it says."""
        answer = self.ask(verb, **request)
        assert not answer["ok"]
        return str(answer["message"])

    def token(self, app: str = SYSTEM_NAME) -> int:
        """Return the token of the last run."""
        return int(self.call(Verb.TOKEN, app=app)["token"])

    def claim(self, token: int) -> None:
        self.call(Verb.CLAIM, token=token)

    def start(self, release: Release, run_id: str = "run-1", token: int = 1) -> str:
        """Start a deploy, and return its unit."""
        unit, program = deploy_unit(APP, release.revision), deploy_program(release)
        self.call(Verb.START_JOB, unit=unit, run_id=run_id, token=token, program=program, timeout=120)
        return unit

    def start_command(
        self,
        unit: str,
        script: str,
        run_id: str = "run-1",
        timeout: int = 60,
        token: int | None = None,
        app: str = SYSTEM_NAME,
    ) -> None:
        """Start a job that runs a shell script in the cage.

        :param token: of the run; default: of the last one.
        """
        hook = Hook.model_validate({"command": ["sh", "-c", script], "user": "build"})
        program = command_program(app.removeprefix("app-"), unit, hook, "0" * 40, {})
        number = self.token(app) if token is None else token
        about = {"app": app, "unit": unit, "run_id": run_id, "timeout": timeout}
        self.call(Verb.START_JOB, **about, token=number, program=program)

    def poll(self, unit: str, cursor: int = 0, wait: float = 5, app: str = SYSTEM_NAME) -> Ended:
        """Follow a job for so long; return how it stands, and what it wrote since."""
        answer = self.call(Verb.FOLLOW_JOB, app=app, unit=unit, cursor=cursor, seconds=wait)
        lines = [line for one in answer["progress"] for line in one["progress"]["lines"]]
        return Ended.model_validate({**answer, "lines": lines})

    def finish(self, unit: str) -> Ended:
        """Wait for a job's end, and return its report with everything that it wrote."""
        report = self.poll(unit, wait=55)
        assert report.state is not JobState.RUNNING, report
        return report

    def clean(self, unit: str, token: int | None = None, app: str = SYSTEM_NAME) -> None:
        """End a job and remove its traces.

        :param token: of the run; default: of the last one.
        """
        self.call(Verb.END_JOB, app=app, unit=unit, token=self.token(app) if token is None else token)

    def deploy(self, revision: str, **changes: object) -> Ended:
        """Deploy to the end, leaving no job behind."""
        unit = self.start(replace(self.release(revision), **changes))  # type: ignore[arg-type]
        report = self.finish(unit)
        self.clean(unit)
        return report

    def facts(self) -> AppServer:
        """Read what a deploy finds there."""
        request = {
            "kind": "app_server",
            "unit": f"{SYSTEM_NAME}.service",
            "files": [],
            "fetch_user": FETCH_USER,
            "build_user": BUILD_USER,
            "run_user": SYSTEM_NAME,
            "environment": f"/etc/default/{SYSTEM_NAME}",
            "repository": "",
            "patterns": [],
            "compare": False,
            "load": None,
            "cage": CAGE,
            "seconds": 20,
        }
        return AppServer.model_validate(self.call(Verb.FACTS, **request)["facts"])

    def main_pid(self) -> int:
        """Return the process of the app's service; 0 if there is none."""
        show = ["systemctl", "show", "--property=MainPID", "--value", f"{SYSTEM_NAME}.service"]
        return int(self.machine.run(show).stdout)

    def get(self, path: str = "/") -> requests.Response:
        """Ask the app, not by way of a proxy."""
        session = requests.Session()
        session.trust_env = False
        return session.get(f"http://{self.machine.private_address}:8080{path}", timeout=10)
