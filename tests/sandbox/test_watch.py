"""The night watch on real machines: a clean fleet, and one thing after the other that is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from difflib import unified_diff
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.checks.finding import Finding
from bluegreen.checks.gather.collect import collect
from bluegreen.checks.render import summary, table
from bluegreen.checks.run import findings_in
from bluegreen.checks.status import lines_of, status_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.operators.check import DryRunOperator
from bluegreen.operators.lock import AcquireLockOperator
from bluegreen.operators.provision_check import ProvisionCheckOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.settings.app import App
from tests.sandbox.droplets import Shop
from tests.sandbox.snapshot import snapshot
from tests.sandbox.watch_fault import BLUE, GREEN, Fault, built_on_green_only, newcomer, stranger
from tests.sandbox.watch_faults import FAULTS
from tests.sandbox.watch_faults_together import TOGETHER
from tests.sandbox.watched import PREVIEW_KEY, Watched, watched_fleet

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def watched(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched_fleet(shop, tmp_path_factory.mktemp("watched")) as fleet:
        yield fleet


def said(findings: list[Finding]) -> str:
    return "\n".join([summary(findings), *table(findings)])


def test_nothing_is_found_on_a_clean_fleet(watched: Watched) -> None:
    assert said(watched.findings()) == "nothing found"


def test_neither_a_dry_run_nor_a_status_changes_anything(watched: Watched) -> None:
    before = {name: snapshot(machine) for name, machine in watched.machines.items()}
    for ref in ("main", None):
        facts = collect(watched.app, ref)
        status_of(facts, findings_in(facts), [])
    for name, machine in watched.machines.items():
        assert "\n".join(unified_diff(before[name], snapshot(machine), lineterm="", n=0)) == ""


@pytest.mark.parametrize("name", [BLUE, GREEN], ids=["idle", "live"])
def test_an_app_that_writes_while_it_loads_changes_nothing(watched: Watched, name: str) -> None:
    with ExitStack() as prepared:
        if name == GREEN:
            prepared.enter_context(built_on_green_only(watched))
        prepared.enter_context(watched.writing(name))
        before = {one: snapshot(machine) for one, machine in watched.machines.items()}
        facts = collect(watched.app, "main")
        after = {one: snapshot(machine) for one, machine in watched.machines.items()}
    loaded = {droplet.name: server.load for droplet, server in facts.read_servers() if server.load}
    assert {one: load.status for one, load in loaded.items()} == {f"watched-{name}": 0}
    for one in watched.machines:
        assert "\n".join(unified_diff(before[one], after[one], lineterm="", n=0)) == ""


# What systemd makes of it is what the module wants to find.
ENVIRONMENT = r"""
D={"host":"10.0.0.1"}
 E = pa"ss"word
F='one $HOME
two'
# G=comment
H="with \"quotes\""
I=goes \
on
PERL5OPT="-I/mnt -MWanted"
"""
WANTED = r"""
package Wanted;
my %wanted = (
    D => '{"host":"10.0.0.1"}', E => 'pa"ss"word', F => "one \$HOME\ntwo",
    H => 'with "quotes"', I => 'goes on',
);
for (sort keys %wanted) { die "$_ is $ENV{$_}" if $ENV{$_} ne $wanted{$_} }
die 'G is there' if exists $ENV{G};
1;
"""


def test_an_app_is_loaded_with_the_environment_that_systemd_gives_it(watched: Watched) -> None:
    blue = watched.machines[f"watched-{BLUE}"]
    blue.run(["tee", "/mnt/Wanted.pm"], text=WANTED)
    blue.run(["tee", "/etc/default/app-watched"], text=ENVIRONMENT)
    blue.run(["chmod", "600", "/etc/default/app-watched"])
    found = watched.findings()
    as_service = blue.run(
        "systemd-run --quiet --wait --pipe --collect -p EnvironmentFile=/etc/default/app-watched perl -e 1"
    )
    blue.run("rm /mnt/Wanted.pm /etc/default/app-watched")
    assert as_service.stderr == ""
    assert said(found) == "nothing found"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_what_is_broken_is_named(watched: Watched, fault: Fault) -> None:
    app = changed(watched.app, fault.settings)
    with fault.there(watched):
        found = watched.findings(fault.ref, app)
        refused = refusal(app)
    demand_named(fault, found)
    assert fault.says in refused if fault.stops else not refused


def test_one_thing_hides_no_other(watched: Watched) -> None:
    """They are told all at once; alone each would be told as well, and cost a look at every machine."""
    app = watched.app
    with ExitStack() as broken:
        for fault in TOGETHER:
            broken.enter_context(fault.there(watched))
            app = changed(app, fault.settings)
        found = watched.findings(app=app)
    for fault in TOGETHER:
        demand_named(fault, found)
    assert [one.severity for one in found] == sorted(one.severity for one in found)


def test_a_rollback_goes_on_without_what_no_deploy_has_reached_yet(watched: Watched) -> None:
    known = {one.name for one in watched.fleet.droplets}
    with (
        newcomer(watched, "watched-lb-3", "watched:lb"),
        newcomer(watched, "watched-blue-2", "watched:blue"),
        stranger(watched),
    ):
        watched.shop.box.reset_limits()
        lock = AcquireLockOperator(task_id="lock", app_id="watched", purpose="rollback", goes_back=True)
        locked = {one.name for one in lock._proxies()}
        plan = checked(watched.app, goes_back=True)
    assert locked == {"watched-lb-1", "watched-lb-2"}
    assert {one.name for one in plan.fleet.droplets} == known


def checked(app: App, **settings: Any) -> Plan:
    """Return the plan that a run makes at its beginning."""
    lock = HeldLock(proxies=(), tokens={"watched-lb-1": 1}).model_dump(mode="json")
    operator: Any = ProvisionCheckOperator(task_id="provision_check", app_id=app.id, lock=lock, **settings)
    operator.__dict__["app"] = app
    run = SimpleNamespace(dag_id="bluegreen_deploy__watched", run_id="run-8")
    task = Task()
    dag = SimpleNamespace(task_ids=["provision_check"])
    context: Any = {"ti": task, "params": {}, "dag_run": run, "dag": dag}
    operator.act(ThisRun(context))
    return Plan.model_validate(task.pushed["plan"])


def refusal(app: App) -> str:
    """Return why a deploy would not begin; empty if it would."""
    try:
        checked(app)
    except BlueGreenError as error:
        return str(error)
    return ""


def demand_named(fault: Fault, found: list[Finding]) -> None:
    named = [one for one in found if one.subject.removeprefix("watched-") == fault.subject]
    [match] = [one for one in named if fault.says in one.what] or pytest.fail(said(found))
    assert match.severity == fault.severity
    assert fault.diff in match.diff or not fault.diff
    assert PREVIEW_KEY not in said(found)


def test_the_fleet_is_clean_again(watched: Watched) -> None:
    assert said(watched.findings()) == "nothing found"


class Task:
    """What an operator asks of its task instance."""

    task_id = "provision_check"

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def test_the_run_fails_with_the_worst_finding_and_keeps_all_as_json(watched: Watched) -> None:
    watched.shop.box.reset_limits()
    task = Task()
    operator = DryRunOperator(app_id="watched", task_id="check", ref="no-psgi")
    with pytest.raises(AirflowFailException, match=r"^1 error; the worst: no-psgi: there is no app\.psgi"):
        operator.execute({"ti": task, "params": {}})  # type: ignore[typeddict-item]
    [found] = json.loads(json.dumps(task.pushed["findings"]))
    assert (found["severity"], found["subject"]) == ("error", "no-psgi")
    assert task.pushed["error"] == task.pushed["summary"]
    revision = task.pushed["revision"]
    assert f"whether no-psgi ({revision[:12]}) loads: no droplet has it yet" in task.pushed["summary"]


def test_a_status_shows_who_is_live_and_what_is_sick(watched: Watched) -> None:
    watched.on(BLUE, "systemctl stop app-watched")
    watched.machines["watched-lb-2"].cut_link()
    facts = collect(watched.app, None)
    status = status_of(facts, findings_in(facts), [])
    watched.machines["watched-lb-2"].restore_link()
    watched.on(BLUE, "systemctl start app-watched")
    shown = {one.name: one for one in status.droplets}
    assert status.live is Color.GREEN
    assert not status.is_live_known
    assert shown["watched-green-1"].revision == watched.revisions["v2"]
    assert shown["watched-green-1"].probe == {"watched-lb-1": "200"}
    assert shown["watched-blue-1"].service == "inactive"
    text = "\n".join(lines_of(status))
    assert text.startswith("live: green")
    assert "watched-lb-2 (" in text


def changed(app: App, settings: dict[str, Any]) -> App:
    """Return an app with other settings."""
    data = app.model_dump(mode="json", exclude_unset=True)
    for key, value in settings.items():
        *sections, name = key.split(".")
        section = data
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return App.model_validate(data)
