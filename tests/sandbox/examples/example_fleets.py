"""The examples for frameworks and servers as apps of one Airflow, each with a small fleet of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from bluegreen.release.system_names import system_name
from demo.airflow import AirflowStack
from demo.environment import DemoEnvironment
from sandbox import Machine, Sandbox
from sandbox.example_repository import EXAMPLES
from sandbox.examples import NAMES, build_repositories
from tests.sandbox.stack import NOTICED_SOON, Ended, live_on
from tests.waiting import until

KINDS = ("provision", "deploy", "rollback")
# What the sandbox has instead of DigitalOcean's and a forge's addresses, and a bake that is short.
BAKE, CONFIRM_WITHIN = 5, 60
# Room for what Debian's npm brings along: 350 packages.
SIZE = "s-2vcpu-4gb"
# Seconds for a run; droplets install Debian packages in it.
RUN_SECONDS = 600


class ExampleFleet:
    """One example, and the droplets that it is deployed to.

    :param name: the app's id, and its directory in ``examples/``.
    :param environment: where the sandbox and its API are.
    """

    def __init__(self, name: str, environment: DemoEnvironment, airflow: AirflowStack) -> None:
        self.name = name
        self.system_name = system_name(name)
        self._environment = environment
        self._airflow = airflow

    @property
    def settings(self) -> dict[str, Any]:
        """The app file, as it was read."""
        file = self._environment.directory / "apps" / f"{self.name}.yaml"
        read: dict[str, Any] = yaml.safe_load(file.read_text())
        return read

    @property
    def url(self) -> str:
        """Where clients find the app."""
        return f"http://{self.proxy().address}"

    def run(self, kind: str, **conf: Any) -> Ended:
        """Start a run of ``bluegreen_<kind>__<app>`` and wait for its end."""
        client = self._airflow.client()
        run = client.trigger(f"bluegreen_{kind}__{self.name}", conf)
        state = client.wait(run, RUN_SECONDS)
        return Ended(run, state, client.xcom(run, "report", "report"))

    def machines(self) -> list[Machine]:
        """All of its droplets."""
        tag = self.settings["fleet"]["tags"]["app"]
        return [machine for machine in self._environment.sandbox.machines() if tag in machine.tags]

    def proxy(self) -> Machine:
        """Its one proxy."""
        [proxy] = [machine for machine in self.machines() if "role:loadbalancer" in machine.tags]
        return proxy

    def live_droplet(self) -> Machine:
        """The droplet of the color that has the traffic."""
        live = live_on(self.proxy())
        [droplet] = [machine for machine in self.machines() if f"env:{live}" in machine.tags]
        return droplet

    def page(self, path: str = "/") -> str:
        """What a client gets."""
        answer = requests.get(self.url + path, timeout=10)
        answer.raise_for_status()
        return answer.text

    def prove(self, variables: Mapping[str, str]) -> str:
        """Run the example's own tests where it is live, as the user that runs it; return what `prove` prints.

        :param variables: more of the environment than the release's modules.
        """
        words = ["env", "PERL5LIB=local/lib/perl5", *(f"{name}={value}" for name, value in variables.items())]
        release = f"/opt/{self.system_name}/current/"
        command = ["runuser", "--user", self.system_name, "--", *words, "prove", "--lib", "t"]
        return self.live_droplet().run(["env", "--chdir", release, *command], check=False).stdout

    def destroy(self) -> None:
        """Destroy its droplets, which would be in the way of the other examples' memory."""
        client = self._environment.digitalocean()
        for machine in self.machines():
            client.droplets.destroy(machine.droplet_id)
        until(lambda: not self.machines(), f"the droplets of {self.name} are destroyed")


@contextmanager
def example_airflow(
    sandbox: Sandbox, directory: Path, variables: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[DemoEnvironment, AirflowStack]]:
    """An Airflow that has the app file of each example.

    :param directory: for Airflow's files.
    :param variables: by example: what the connection that its app file names has for its environment.
    """
    environment = DemoEnvironment(sandbox, directory / "environment")
    environment.prepare()
    build_repositories(sandbox.repositories)
    connections: dict[str, str] = {}
    for name in NAMES:
        settings = _settings(name, f"{sandbox.git_url}/{name}.git")
        file = environment.directory / "apps" / f"{name}.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        if connection := settings.get("connections", {}).get("environment"):
            extra = {"environment": dict(variables[name])}
            connections[f"AIRFLOW_CONN_{connection.upper()}"] = json.dumps(
                {"conn_type": "generic", "extra": extra}
            )
    airflow = AirflowStack(
        directory / "airflow", extra={**NOTICED_SOON, **environment.variables(), **connections}
    )
    with airflow:
        airflow.start([f"bluegreen_{kind}__{name}" for name in NAMES for kind in KINDS])
        yield environment, airflow


def _settings(name: str, repository: str) -> dict[str, Any]:
    """Return an example's own app file, with the sandbox's repository and a fleet that is small."""
    settings: dict[str, Any] = yaml.safe_load((EXAMPLES / name / "bluegreen.yaml").read_text())
    settings["repository"] = repository
    settings["dry_run_schedule"] = None
    # The database is in the region's default network.
    settings["fleet"] |= {"droplets_per_color": 1, "size": SIZE, "vpc": "default-nyc3"}
    settings["validation"] |= {"bake": BAKE, "confirm_within": CONFIRM_WITHIN}
    return settings
