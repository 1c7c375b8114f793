"""One-off commands on machines: beside the live service, for those who may, and in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.protocol import Verb
from bluegreen.agent_bundle import agent_bundle
from bluegreen.release.run_command import command_unit
from bluegreen.run.ledger import Record, read_ledger
from demo.airflow_settings import USER
from demo.app_settings import app_settings
from demo.client import AirflowClient, Run
from demo.environment import APP
from sandbox import Machine
from tests.sandbox.app_file import settings
from tests.sandbox.judged import judged
from tests.sandbox.stack import RUN_SECONDS, SYSTEM_NAME, Ended, Stack, fingerprint
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import PATHS
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

DAG = f"bluegreen_run__{APP}"
LEDGER = "/var/lib/bluegreen/ledger.jsonl"
# Prints what it is, uses the app's database, and looks for what the app may not see.
LOOKS = f"""
echo "I am $(id -un) in $PWD with $PLACK_ENV"
psql -Atc "SELECT 'the database says ' || 6 * 7"
echo "password $PGPASSWORD"
touch /var/lib/{SYSTEM_NAME}/by-a-command /dev/shm/by-a-command
for path in /etc/shadow /root /var/lib/bluegreen/{SYSTEM_NAME}/configurations /run/bluegreen; do
    [ -r "$path" ] && echo "saw $path"
done
touch /opt/{SYSTEM_NAME}/x 2>/dev/null && echo "wrote into the releases"
timeout 3 bash -c "exec 3<>/dev/tcp/169.254.169.254/80" 2>/dev/null && echo "saw the metadata service"
exit 0
"""
LONG = "trap 'echo asked to end' TERM; echo begun; while :; do sleep 1; done"


@pytest.fixture(scope="module")
def commanding(stack: Stack) -> Iterator[Stack]:
    """The fleet of an app for which one user may run commands."""
    policy = app_settings(APP, "")["policy"]
    with settings(stack, {"policy": {**policy, "run": [USER]}}):
        until(lambda: DAG in stack.client.dag_ids(), "Airflow has read the app's file", 120)
        yield stack


def begin(client: AirflowClient, *command: str) -> Run:
    return client.trigger(DAG, {"command": list(command), "reason": "ticket 4711"})


def end_of(stack: Stack, run: Run) -> Ended:
    client = stack.client
    state = client.wait(run, RUN_SECONDS)
    return Ended(run, state, client.xcom(run, "report", "report"))


def log_of(stack: Stack, run: Run) -> str:
    client = stack.client
    [task] = [one for one in client.tasks(run) if one.task_id == "run_command"]
    return client.log(run, task)


def recorded(stack: Stack, run: Run) -> Record:
    """Return the ledger's record of a run."""
    lines = stack.proxy().run(["cat", LEDGER]).stdout.splitlines()
    [record] = [one for one in read_ledger([map(json.loads, lines)]) if one.run_id == run.run_id]
    return record


def units(machine: Machine) -> list[str]:
    """Return the units of one-off commands on a droplet."""
    pattern = ["bluegreen-run-*", "caged-bluegreen-run-*"]
    shown = machine.run(["systemctl", "list-units", "--all", "--plain", "--no-legend", *pattern]).stdout
    return [line.split()[0] for line in shown.splitlines()]


def start_again(machine: Machine, run: Run) -> str:
    """Ask a droplet once more for a run's command, as a task does whose worker died; return its answer."""
    about = {"app": SYSTEM_NAME, "unit": command_unit(APP, f"{run.dag_id}/{run.run_id}")}
    steps = [{"verb": Verb.RUN_COMMAND.value, "request": about}]
    request = {**about, "token": 0, "run_id": run.run_id, "timeout": 9, "program": {"steps": steps}}
    agent = ["python3", agent_bundle().path, Verb.START_JOB.value, json.dumps(request)]
    return machine.run(agent, check=False).stdout


def test_a_command_runs_as_the_app_in_what_is_live_and_leaves_the_service_alone(
    commanding: Stack, services: Services
) -> None:
    live = commanding.live()
    before = fingerprint(commanding, live)
    run = begin(commanding.client, "bash", "-c", LOOKS)
    ended = end_of(commanding, run).expect("done")
    assert fingerprint(commanding, live) == before
    machine = commanding.machines(live)[0]
    log, revision = log_of(commanding, run), commanding.revisions[commanding.live_ref() or ""]
    assert f"I am {SYSTEM_NAME} in /opt/{SYSTEM_NAME}/releases/{revision}-" in log
    assert "with production" in log
    assert "the database says 42" in log
    assert "password [" in log
    assert services.database.password not in log
    assert "saw " not in log
    assert "wrote " not in log
    # The service has files of its user's there, too, which end with the user's last unit.
    assert machine.run(["ls", "/dev/shm/by-a-command"]).stdout
    # Its end is remembered.
    assert json.loads(start_again(machine, run).splitlines()[-1])["attached"] is True
    assert units(machine) == []
    assert "psql" not in commanding.proxy().run(["cat", LEDGER]).stdout
    record = recorded(commanding, run)
    assert (record.triggered_by, record.reason, record.outcome) == (USER, "ticket 4711", "done")
    assert record.command is not None
    assert record.command.ran is not None
    assert (record.command.droplet, record.command.ran.exit_status) == (machine.name, 0)
    assert record.command.command == "bash with 2 arguments"
    assert machine.name in ended.report["message"]


def test_the_exit_status_is_the_run_s_and_only_those_who_may_run_anything(commanding: Stack) -> None:
    failing = end_of(commanding, begin(commanding.client, "bash", "-c", "echo no such customer; exit 3"))
    assert failing.state == "failed"
    assert "ended with 3: no such customer" in failing.report["message"]
    command = recorded(commanding, failing.run).command
    assert command is not None
    assert command.ran is not None
    assert command.ran.exit_status == 3
    other = end_of(commanding, begin(commanding.approver, "touch", f"/var/lib/{SYSTEM_NAME}/by-another"))
    assert other.state == "failed"
    assert f"may not run commands, but {USER} (setting policy.run)" in other.report["message"]
    for machine in commanding.machines(commanding.live()):
        assert machine.run(["ls", f"/var/lib/{SYSTEM_NAME}/by-another"], check=False).returncode != 0


@contextmanager
def running(stack: Stack) -> Iterator[tuple[Run, Machine]]:
    """Let a command be at work on a live droplet, and end it."""
    machine = stack.machines(stack.live())[0]
    run = begin(stack.client, "bash", "-c", LONG)
    until(lambda: "caged" in " ".join(units(machine)), "the command is at work", RUN_SECONDS)
    yield run, machine
    stack.client.mark(run, "failed")
    until(lambda: units(machine) == [], "the command has ended", 60)
    stack.client.wait(run, RUN_SECONDS)


def test_a_command_goes_on_beside_deploys_and_ends_with_its_run(commanding: Stack, tmp_path: Path) -> None:
    with (
        judged(commanding.environment.proxy_url(), tmp_path, PATHS) as found,
        running(commanding) as (run, machine),
    ):
        [unit] = [one for one in units(machine) if one.startswith("caged")]
        shown = machine.run(["systemctl", "show", unit, "--property=MemoryMax,OOMScoreAdjust"]).stdout
        limits = dict(line.split("=") for line in shown.splitlines())
        total = int(machine.run("awk '/MemTotal/ {print $2}' /proc/meminfo").stdout)
        assert int(limits["MemoryMax"]) <= total * 1024 / 3
        assert limits["OOMScoreAdjust"] == "1000"
        before = commanding.live()
        commanding.run("deploy", ref=commanding.other_ref()).expect("live and confirmed")
        assert commanding.live() != before
        # This one claims the droplet on which the command is at work, and installs a release there.
        with settings(commanding, {"services": {"nowhere": {"address": "127.0.0.1:1"}}}):
            refused = commanding.run("deploy", ref=commanding.other_ref())
        assert "cannot reach the service nowhere" in refused.report["message"]
        assert unit in units(machine)
        client = commanding.client
        assert client.run_state(run) == "running"
        status = commanding.trigger("status")
        client.wait(status, RUN_SECONDS)
        assert any(run.run_id in one["what"] for one in client.xcom(status, "status")["findings"])
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples
    assert recorded(commanding, run).outcome == "failed"
