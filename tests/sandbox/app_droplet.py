"""An application droplet of its own for a test, as provisioning makes it, and jobs on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from agent.droplet.messages import Started
from agent.protocol import Configuration, Kind, Program, SentFile, Verb
from bluegreen.agent_bundle import agent_bundle, memory_command, memory_input
from bluegreen.checks.facts import AppServer
from bluegreen.fleet.cloud_init import render_user_data
from bluegreen.fleet.host_keys import generate
from bluegreen.hooks.agent import NOT_THERE
from bluegreen.hooks.repository import with_source
from bluegreen.release.artifact import BuildAnswer
from bluegreen.release.configuration import Secrets, make_configuration
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.lifecycle_commands import command_program
from bluegreen.release.release import build_program, build_unit, deploy_program, deploy_unit, restore_program
from bluegreen.release.system_names import build_user, system_name
from bluegreen.run.previous import HealthyPairing
from bluegreen.settings.app import App
from bluegreen.settings.hooks import Hook
from demo.app_settings import app_settings
from sandbox import Machine, Sandbox
from tests.waiting import until

APP = "my_perl_app"
SYSTEM_NAME, BUILD_USER = system_name(APP), build_user(APP)
ROOT = f"/opt/{SYSTEM_NAME}"

SALT = "5a" * 32
QUICK: dict[str, dict[str, Any]] = {"server": {"workers": 1}, "health": {"timeout": 30}}


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
    """The report of a job that ended, or is at work, and what it wrote."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Built:
    """An artifact that was built on the droplet, and waits there to be installed."""

    release: str
    digest: str
    artifact: SentFile


@dataclass(frozen=True)
class AppDroplet:
    """A droplet, and the app that is built and deployed there."""

    machine: Machine
    repository: str
    _artifacts: dict[str, Built] = field(default_factory=dict, compare=False)

    def app(self, **changes: Mapping[str, Any]) -> App:
        """Return the app's settings.

        :param changes: keys of sections that differ from the usual ones.
        """
        settings = {"id": APP, **app_settings(APP, self.repository)}
        for section in {*QUICK, *changes}:
            value = changes.get(section, {})
            merged = isinstance(value, Mapping)
            settings[section] = (
                {**settings.get(section, {}), **QUICK.get(section, {}), **value} if merged else value
            )
        return App.model_validate(settings)

    def ask(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call the agent as Airflow does, and return its answer, which may be a refusal."""
        request = {"app": SYSTEM_NAME, **request}
        if verb.kind is Kind.READS:
            said = self.machine.run(memory_command(verb), text=memory_input(request), check=False)
        else:
            command = ["python3", agent_bundle().path, verb.value, "-"]
            said = self.machine.run(command, text=json.dumps(request), check=False)
            if said.returncode == NOT_THERE and not said.stdout:
                self.machine.run(memory_command(Verb.INSTALL_AGENT), text=memory_input({}))
                said = self.machine.run(command, text=json.dumps(request), check=False)
        answer: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
        return {**answer, "progress": [json.loads(line) for line in said.stdout.splitlines()[:-1]]}

    def call(self, verb: Verb, **request: Any) -> dict[str, Any]:
        """Call the agent, which must not refuse."""
        answer = self.ask(verb, **request)
        assert answer["ok"], answer
        return answer

    def refusal(self, verb: Verb, **request: Any) -> str:
        """Call the agent, which must refuse, and return its message."""
        answer = self.ask(verb, **request)
        assert not answer["ok"]
        return str(answer["message"])

    def token(self, app: str = SYSTEM_NAME) -> int:
        """Return the token of the last run."""
        return int(self.call(Verb.TOKEN, app=app)["token"])

    def _number(self, token: int | None) -> int:
        """Return a run's token, which is the last run's if it has none of its own."""
        return max(self.token(), 1) if token is None else token

    def claim(self, token: int) -> None:
        self.call(Verb.CLAIM, token=token)

    def start(self, unit: str, program: Program, run_id: str = "run-1", token: int | None = None) -> str:
        """Start a job, and return its unit.

        :param token: of the run; default: of the last one.
        """
        number = self._number(token)
        self.call(Verb.START_JOB, unit=unit, run_id=run_id, token=number, program=program, timeout=120)
        return unit

    def start_build(self, revision: str, token: int | None = None, **changes: Mapping[str, Any]) -> str:
        """Send a revision's source, start its build, and return the job's unit."""
        app = self.app(**changes)
        with with_source(app, revision) as source:
            sent: SentFile = {"name": "source.tar.gz", "sha256": source.sha256, "size": source.size}
            number = self._number(token)
            self.call(Verb.RECEIVE, token=number, file=sent)
            self.machine.run(f"cat >{ROOT}/incoming/{sent['name']}", text=source.path.read_bytes())
            program = build_program(app, revision, source.committed, sent, None)
        return self.start(build_unit(APP, revision), program, token=number)

    def build(self, revision: str, **changes: Mapping[str, Any]) -> tuple[Ended, Built | None]:
        """Build a revision to the end; the artifact then waits in ``/root``."""
        token = self._number(None)
        unit = self.start_build(revision, token, **changes)
        report, built = self.finish(unit), None
        if report.state is JobState.SUCCESS:
            answer = BuildAnswer.parse(report.answers.get("build"), revision)
            artifact = answer.artifact.sent
            self.machine.run(["cp", f"{ROOT}/outgoing/{artifact['name']}", "/root"])
            built = Built(answer.release, answer.digest, artifact)
        self.clean(unit, token)
        return report, built

    def must_build(self, revision: str, **changes: Mapping[str, Any]) -> Built:
        """Build a revision, which must succeed."""
        report, built = self.build(revision, **changes)
        assert built is not None, report.lines
        return built

    def send(self, built: Built, token: int | None = None) -> None:
        """Put an artifact where a deploy finds it, as a run does."""
        self.call(Verb.RECEIVE, token=self._number(token), file=built.artifact)
        name = built.artifact["name"]
        self.machine.run(["cp", f"/root/{name}", f"{ROOT}/incoming/{name}"])

    def program(self, built: Built, kept: str | None = None, **changes: Mapping[str, Any]) -> Program:
        """Return the program that installs, loads and activates an artifact that was sent.

        :param kept: the revision that was confirmed on the droplet last.
        """
        healthy = self.facts().activated if kept else ()
        confirmed = next((one.pairing for one in healthy if one.release.startswith(f"{kept}-")), "")
        app = self.app(**changes)
        configuration = self.configuration(app)
        address = self.machine.private_address
        return deploy_program(
            app, built.release, built.digest, built.artifact, configuration, address, confirmed
        )

    @staticmethod
    def configuration(app: App) -> Configuration:
        """Return what the app's releases run with."""
        return make_configuration(app, Secrets(), {}, SALT)

    def install(self, built: Built, kept: str | None = None, **changes: Mapping[str, Any]) -> Ended:
        """Install and start an artifact, leaving no job behind."""
        token = self._number(None)
        self.send(built, token)
        unit = deploy_unit(APP, built.release.partition("-")[0])
        report = self.finish(self.start(unit, self.program(built, kept, **changes), token=token))
        self.clean(unit, token)
        return report

    def restore(self, known: HealthyPairing) -> Ended:
        """Start again what was healthy, as a rollback does; leave no job behind."""
        started: Started = {
            "release": known.release,
            "configuration": known.configuration,
            "pairing": known.pairing,
        }
        unit = deploy_unit(APP, known.release.partition("-")[0])
        report = self.finish(self.start(unit, restore_program(self.app(), started, known.pairing)))
        self.clean(unit)
        return report

    def unit_text(self) -> str:
        """Return the service's systemd unit."""
        return self.machine.run(["cat", f"/etc/systemd/system/{SYSTEM_NAME}.service"]).stdout

    def deploy(self, revision: str, kept: str | None = None, **changes: Mapping[str, Any]) -> Ended:
        """Install and start a revision; return the report of the last job, with every line.

        As in a run, it is built only if it was not built before with the same settings.
        """
        lines: tuple[str, ...] = ()
        key = self._artifact_key(revision, **changes)
        if key not in self._artifacts:
            report, built = self.build(revision, **changes)
            if built is None:
                return report
            self._artifacts[key], lines = built, report.lines
        installed = self.install(self._artifacts[key], kept, **changes)
        return installed.model_copy(update={"lines": (*lines, *installed.lines)})

    def built(self, revision: str, **changes: Mapping[str, Any]) -> Built:
        """Return the artifact that a deploy with these settings has built."""
        return self._artifacts[self._artifact_key(revision, **changes)]

    def forget_artifacts(self) -> None:
        """Let the next deploy of each revision build it again."""
        self._artifacts.clear()

    def _artifact_key(self, revision: str, **changes: Mapping[str, Any]) -> str:
        nothing: SentFile = {"name": "", "sha256": "", "size": 0}
        return json.dumps(build_program(self.app(**changes), revision, 0, nothing, None))

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
        program = command_program(app.removeprefix("app-"), unit, hook, "", {})
        number = self.token(app) if token is None else token
        about = {"app": app, "unit": unit, "run_id": run_id, "timeout": timeout}
        self.call(Verb.START_JOB, **about, token=number, program=program)

    def poll(self, unit: str, cursor: int = 0, wait: float = 5, app: str = SYSTEM_NAME) -> Ended:
        """Follow a job for so long; return its state, and what it wrote since."""
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

    def facts(self) -> AppServer:
        """Read what a deploy finds there."""
        request = {
            "kind": "app_server",
            "unit": f"{SYSTEM_NAME}.service",
            "files": [],
            "users": [SYSTEM_NAME],
            "perl": "/usr/bin/perl",
            "tools": ["cpanm", "carton", "cc", "make"],
            "packages": [],
            "compare": False,
            "ports": [],
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
