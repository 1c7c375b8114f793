"""Secrets of an app arrive byte for byte where the app reads them, and are in no other place."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.airflow import AirflowStack
from demo.environment import DemoEnvironment
from sandbox import Machine, Sandbox
from sandbox.example_repository import EXAMPLES, run_git
from tests.sandbox.examples.example_fleets import ExampleFleet
from tests.sandbox.examples.secret_search import SecretSearch
from tests.sandbox.stack import NOTICED_SOON
from tests.unit.nasty_values import NASTY_VALUES

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]

APP = "secretive"
CONNECTION = "secretive_environment"
# Ends each value of the file that is made from a template.
END = "<end>"
IN_APP_FILE = 5
TEMPLATE, FROM_TEMPLATE, FROM_CONNECTION = "config/all.template", "config/all", f"/etc/app-{APP}/keys/tls.pem"
# Starlet's processes write their titles over what /proc shows of their environment.
WRITES_ENVIRONMENT = """BEGIN {
    open my $file, '>', '/var/lib/app-secretive/environment' or die $!;
    print $file map { "$_=$ENV{$_}\\0" } sort keys %ENV;
    close $file or die $!;
}
"""
PRINTS_ALL = """warn "$_ is $ENV{$_}\\n" for sort keys %ENV;
open my $file, '<', '/etc/app-secretive/keys/tls.pem' or die $!;
print STDERR <$file>;
die join ' ', map { $ENV{$_} } grep {/NASTY/} sort keys %ENV;
"""


@dataclass(frozen=True)
class Secrets:
    """What is delivered.

    :param marks: a text that is in each value and nowhere else, by the value's name.
    """

    in_app_file: dict[str, str]
    in_connection: dict[str, str]
    file: str
    marks: dict[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """All variables."""
        return {**self.in_app_file, **self.in_connection}


def make_secrets() -> Secrets:
    """Return the nasty values, each with a mark in its middle."""
    marks = {f"NASTY_{number}": secrets.token_hex(12) for number in range(len(NASTY_VALUES))}
    values = {
        name: value[: len(value) // 2] + marks[name] + value[len(value) // 2 :]
        for name, value in zip(marks, NASTY_VALUES, strict=True)
    }
    names = list(values)
    marks["tls.pem"] = secrets.token_hex(12)
    return Secrets(
        in_app_file={name: values[name] for name in names[:IN_APP_FILE]},
        in_connection={name: values[name] for name in names[IN_APP_FILE:]},
        file=f"-----BEGIN KEY-----\n{marks['tls.pem']}\n\t'\"$(id)\\\n-----END KEY-----\n",
        marks=marks,
    )


@dataclass(frozen=True)
class World:
    """The app with its fleet."""

    fleet: ExampleFleet
    secrets: Secrets
    search: SecretSearch
    airflow: AirflowStack
    sandbox: Sandbox
    directory: Path


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("secrets")
    delivered = make_secrets()
    build_repository(sandbox.repositories / f"{APP}.git", directory / "tree", delivered)
    environment = DemoEnvironment(sandbox, directory / "environment")
    environment.prepare()
    file = environment.directory / "apps" / f"{APP}.yaml"
    settings = app_file(f"{sandbox.git_url}/{APP}.git", delivered)
    file.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
    own = {"BLUEGREEN_CACHE_DIR": str(directory / "cache")}
    airflow = AirflowStack(directory / "airflow", extra={**NOTICED_SOON, **environment.variables(), **own})
    with airflow:
        airflow.start([f"bluegreen_{kind}__{APP}" for kind in ("provision", "deploy", "rollback")])
        extra = {"environment": delivered.in_connection, "files": {"tls.pem": delivered.file}}
        airflow.client().connect(CONNECTION, "generic", extra)
        fleet = ExampleFleet(APP, environment, airflow)
        try:
            yield World(fleet, delivered, SecretSearch(delivered.marks), airflow, sandbox, directory)
        finally:
            fleet.destroy()


def app_file(repository: str, delivered: Secrets) -> dict[str, Any]:
    """Return the app's settings: those of the example under Starlet, with an environment."""
    settings: dict[str, Any] = yaml.safe_load((EXAMPLES / "plack_starlet" / "bluegreen.yaml").read_text())
    settings["repository"] = repository
    settings["dry_run_schedule"] = None
    settings["fleet"] |= {"tags": {"app": f"app:{APP}"}, "droplets_per_color": 1}
    settings["validation"] |= {"bake": 2, "confirm_within": 60}
    settings["policy"] = {"branches": ["*"], "allow_older": "always"}
    settings["environment"] = delivered.in_app_file
    settings["connections"] = {"environment": CONNECTION}
    settings["files"] = [
        {"path": FROM_TEMPLATE, "content_from": {"template": TEMPLATE}},
        {"path": FROM_CONNECTION, "content_from": {"connection": "tls.pem"}},
    ]
    return settings


def build_repository(path: Path, tree: Path, delivered: Secrets) -> None:
    """Create the app's repository.

    ``good`` writes its environment to the app's own directory, ``leaks`` prints it and dies.
    """
    tree.mkdir()
    for file in (EXAMPLES / "plack_starlet").rglob("*"):
        if file.is_file():
            target = tree / file.relative_to(EXAMPLES / "plack_starlet")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    app = tree / "app.psgi"
    text = app.read_text()
    (tree / TEMPLATE).parent.mkdir()
    (tree / TEMPLATE).write_text("".join(f"{name}={{{{ {name} }}}}{END}" for name in delivered.variables))
    run_git(tree, "init", "--quiet", "--initial-branch=main")
    for tag, first in (("good", WRITES_ENVIRONMENT), ("leaks", PRINTS_ALL)):
        app.write_text(f"{first}{text}")
        run_git(tree, "add", "--all")
        run_git(tree, "commit", "--quiet", "--message", tag)
        run_git(tree, "tag", tag)
    run_git(tree.parent, "clone", "--quiet", "--bare", str(tree), str(path))


def content(machine: Machine, pid: str, path: str) -> bytes:
    """Return what a process of a machine finds in a file."""
    read = ["nsenter", "--target", pid, "--mount", "base64", "--wrap=0", path]
    return base64.b64decode(machine.run(read).stdout)


def variables(data: bytes, end: str = "\0") -> dict[str, str]:
    """Return names and values.

    :param end: what is after each of them.
    """
    return dict(each.split("=", 1) for each in data.decode().split(end)[:-1])


def test_secrets_arrive_byte_for_byte_and_are_in_no_other_place(world: World) -> None:
    fleet, search = world.fleet, world.search
    with search.watching_processes() as seen:
        fleet.run("provision").expect("done")
        # Both colors get them; the second deploy has a configuration that exists to compare with.
        for _ in ("blue", "green"):
            fleet.run("deploy", ref="good", force=True).expect("live and confirmed")
    assert seen == {}

    assert_arrived(world)
    assert {machine.name: left_on(machine, world) for machine in fleet.machines()} == {
        machine.name: Left(is_delivered="role:loadbalancer" not in machine.tags)
        for machine in fleet.machines()
    }
    assert left_with_airflow(world) == {}


def test_a_release_that_prints_its_secrets_shows_their_names_only(world: World) -> None:
    ended = world.fleet.run("deploy", ref="leaks")
    assert ended.state == "failed"
    assert "the app does not load" in ended.report["message"]
    assert "[NASTY_" in json.dumps(ended.report)
    assert left_with_airflow(world) == {}


def assert_arrived(world: World) -> None:
    """Check every variable and file, as the app finds them where it is live."""
    fleet, wanted = world.fleet, world.secrets.variables
    droplet = fleet.live_droplet()
    show = ["systemctl", "show", "--property=MainPID", "--value", fleet.system_name]
    pid = droplet.run(show).stdout.strip()
    arrived = variables(content(droplet, pid, f"/var/lib/{fleet.system_name}/environment"))
    assert {name: arrived.get(name) for name in wanted} == wanted
    assert content(droplet, pid, FROM_CONNECTION) == world.secrets.file.encode()
    assert (
        variables(content(droplet, pid, f"/opt/{fleet.system_name}/current/{FROM_TEMPLATE}"), END) == wanted
    )


@dataclass
class Left:
    """Where secrets are on a machine besides their own directory, which only root may read.

    :param is_delivered: whether the directory has any.
    :param files: other files.
    :param readable: files that others than root and the app may read.
    :param shown: by command lines and the journal.
    """

    is_delivered: bool
    files: list[str] = field(default_factory=list)
    readable: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)


def left_on(machine: Machine, world: World) -> Left:
    """Search a machine."""
    name = world.fleet.system_name
    # This one is the app's own doing.
    machine.run(["rm", "--force", f"/var/lib/{name}/environment"])
    found = world.search.files_of(machine)
    own = [path for path in found if path.startswith(f"/var/lib/bluegreen/{name}/configurations/")]
    readable = machine.run(["find", *own, "-perm", "/o+rwx"]).stdout.split() if own else []
    shown = world.search.shown_by(machine)
    return Left(bool(own), [path for path in found if path not in own], readable, shown)


def left_with_airflow(world: World) -> dict[str, set[str]]:
    """Search database, logs, rendered fields, XComs, mirrors, artifacts, and what DigitalOcean was sent."""
    search, home = world.search, world.airflow.home
    environment = search.files_below(world.directory / "environment")
    # The app file is the one place for values that everybody may read.
    assert environment.pop(f"apps/{APP}.yaml") == set(world.secrets.in_app_file)
    records = [path for path in world.sandbox.layout.directory.iterdir() if path.is_file()]
    return {
        **search.rows_of(home.database),
        **search.files_below(home.directory),
        **search.files_below(world.directory / "cache"),
        **environment,
        **{path.name: names for path in records if (names := search.names_in(path.read_bytes()))},
    }
