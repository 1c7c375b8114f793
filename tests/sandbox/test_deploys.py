"""Deploys through the real scheduler, under load: what becomes of the requests, and what a run says.

The tests share one fleet and one Airflow, and each leaves a healthy live color behind.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from agent.release_name import revision_of
from demo.errors import ApiError
from sandbox import Machine
from sandbox.traffic_records import Summary, read, summarize
from tests.sandbox.app_file import settings
from tests.sandbox.none_failed import assert_none_failed
from tests.sandbox.stack import SYSTEM_NAME, Ended, Judge, Stack, fingerprint
from tests.sandbox.way_back import make_sure_of_a_way_back

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

# Requests that were in flight at the switch may still be answered by the old color.
OLD_COLOR_SECONDS = 0.1


def lasts(judge: Judge, since: float, until: float) -> Summary:
    return summarize(read(judge.records), since, until)


def other(color: str) -> str:
    return "green" if color == "blue" else "blue"


def assert_refused(ended: Ended, *words: str) -> None:
    """A deploy that ended before traffic moved, and whose last line says these words."""
    assert ended.state == "failed"
    assert ended.report["outcome"] == "refused before the switch"
    for word in words:
        assert word in ended.report["message"]


@contextmanager
def live_untouched(stack: Stack) -> Iterator[None]:
    """Files and processes of the live droplets and the map of HAProxy are the same before and after."""
    live = stack.live()
    before = fingerprint(stack, live)
    yield
    assert stack.live() == live
    assert fingerprint(stack, live) == before


def assert_moved(stack: Stack, judge: Judge, ended: Ended, since: float, old: str, *, at_least: int) -> None:
    """Traffic went to the other color, of which the run's last line tells, at once and without a loss."""
    assert ended.state == "success"
    assert stack.live() == other(old)
    assert stack.live() in ended.report["message"]

    seen = lasts(judge, since, time.time())
    assert seen.requests > at_least
    assert_none_failed(stack, seen)
    [switch] = stack.client.xcom(ended.run, "switch_traffic").values()
    assert seen.last_start[old] < switch["at"] + OLD_COLOR_SECONDS


def test_a_deploy_to_another_port_and_a_rollback_by_hand_fail_no_request_and_leave_nothing_on_the_old_color(
    stack: Stack, judge: Judge
) -> None:
    old, started = stack.live(), time.time()
    with settings(stack, {"server": {"port": 9090, "workers": 4}}):
        ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert_moved(stack, judge, ended, started, old, at_least=1000)
        # The other color still listens where it did.
        old, started = stack.live(), time.time()
        ended = stack.run("rollback").expect("live and confirmed")
        assert_moved(stack, judge, ended, started, old, at_least=300)
    # Whoever clicks a second time does not get what was bad.
    again = stack.run("rollback").expect("already live")
    assert "to send it to " in again.report["message"]
    assert stack.live() == other(old)


def test_a_health_path_that_the_live_release_does_not_know_is_refused(stack: Stack, judge: Judge) -> None:
    started = time.time()
    with live_untouched(stack), settings(stack, {"health": {"path": "/unheard-of"}}):
        ended = stack.run("deploy", ref=stack.other_ref())
        dry = stack.run("dry_run", ref=stack.other_ref())
    words = ("live and answers /unheard-of (setting health.path;", "with status 404, allowed are 200 to 299")
    assert_refused(ended, stack.machines(stack.live())[0].name, *words)
    found = str(stack.client.xcom(dry.run, "check", "findings"))
    assert (dry.state, [word for word in words if word not in found]) == ("failed", [])
    assert_none_failed(stack, lasts(judge, started, time.time()))


def test_a_rollback_leaves_a_live_color_whose_droplet_has_no_power(stack: Stack) -> None:
    make_sure_of_a_way_back(stack)
    old = stack.live()
    machine = stack.machines(old)[-1]
    machine.power_off()
    try:
        stack.run("rollback").expect("live and confirmed")
    finally:
        machine.power_on()
        stack.wait_for_ssh(machine)
    assert stack.live() != old


def test_a_release_that_does_not_compile_is_refused_with_perl_s_own_words(stack: Stack, judge: Judge) -> None:
    started = time.time()
    with live_untouched(stack):
        ended = stack.run("deploy", ref="v3-broken")
    assert_refused(ended, "the app does not load: syntax error at lib/MyPerlApp.pm line", stack.live())
    assert_none_failed(stack, lasts(judge, started, time.time()))


def test_a_release_that_is_bad_in_production_is_given_back_in_time(stack: Stack, judge: Judge) -> None:
    old, started = stack.live(), time.time()
    ended = stack.run("deploy", ref="v4-bad")
    assert ended.state == "failed"
    assert ended.report["outcome"] == "rolled back"
    # Own requests or clients': whoever sees enough first.
    bad_share = r"the new release is bad: \d+ of \d+ .*(failed|answered with 5xx)"
    assert re.search(bad_share, ended.report["message"])
    assert stack.live() == old

    seen = lasts(judge, started, time.time())
    assert_none_failed(stack, seen)
    assert seen.app_errors > 0
    [switch] = stack.client.xcom(ended.run, "switch_traffic").values()
    bad = stack.revisions["v4-bad"]
    over = max(record.start for record in read(judge.records) if record.revision == bad)
    assert over - switch["at"] < stack.confirm_within

    # Whoever is alarmed and asks for a rollback does not get the bad release again.
    stack.run("rollback").expect("already live")
    assert stack.live() == old


def stopped_release(stack: Stack) -> str | None:
    """Return a good revision that the idle droplets have, and do not run."""
    machine = stack.idle_machines()[0]
    running = machine.run(["readlink", f"/opt/{SYSTEM_NAME}/current"]).stdout
    there = [revision_of(one) for one in machine.run(["ls", f"/opt/{SYSTEM_NAME}/releases"]).stdout.split()]
    good = [stack.revisions[ref] for ref in ("v1", "v2")]
    return next((one for one in good if one in there and one not in running), None)


def test_a_rollback_to_an_older_release_starts_it_first_and_fails_no_request(
    stack: Stack, judge: Judge
) -> None:
    if stopped_release(stack) is None:
        stack.run("deploy", ref="v4-bad").expect("rolled back")
    older, old, started = stopped_release(stack), stack.live(), time.time()
    assert older
    stack.run("rollback", revision=older[:9]).expect("live and confirmed")
    assert stack.live() != old
    assert stack.revisions[str(stack.live_ref())] == older
    assert_none_failed(stack, lasts(judge, started, time.time()))

    ended = stack.run("rollback", revision="0" * 7)
    assert_refused(ended, "no release on all droplets", "begins with 0000000; there are: ")


@dataclass(frozen=True)
class Unfit:
    """What makes a droplet unfit for a deploy, and what the deploy says of it."""

    breaks: Callable[[Machine], object]
    mends: Callable[[Machine], object]
    words: str


def fill_disk_and_reserve(machine: Machine) -> None:
    """Leave no room, not even what is kept for the next deploy."""
    machine.run(f"rm -rf /opt/{SYSTEM_NAME}/reserve")
    machine.fill_disk()


UNFIT = (
    Unfit(Machine.cut_link, Machine.restore_link, " cannot be reached by SSH"),
    Unfit(fill_disk_and_reserve, Machine.free_disk, " MB of disk are free"),
)


def test_all_idle_droplets_that_are_not_fit_are_named_and_nothing_is_touched(stack: Stack) -> None:
    idle = list(zip(stack.idle_machines(), UNFIT, strict=True))
    with live_untouched(stack):
        for machine, unfit in idle:
            unfit.breaks(machine)
        try:
            ended = stack.run("deploy", ref=stack.other_ref())
        finally:
            for machine, unfit in idle:
                unfit.mends(machine)
                stack.wait_for_ssh(machine)
    assert_refused(ended)
    for machine, unfit in idle:
        assert re.search(f"{machine.name}\\b[^;]*{unfit.words}", ended.report["message"])
    # It has seen for itself that traffic is where it was.
    assert ("rollback", "success") in {(task.task_id, task.state) for task in stack.client.tasks(ended.run)}


def running_on(machine: Machine) -> tuple[str, str]:
    """Return which release a droplet runs, and systemd's word for its state."""
    release = machine.run(["readlink", f"/opt/{SYSTEM_NAME}/current"], check=False).stdout.strip()
    return release, machine.run(["systemctl", "is-active", SYSTEM_NAME], check=False).stdout.strip()


def test_a_droplet_with_another_host_key_is_refused_and_a_rollback_goes_to_droplets_that_were_all_replaced(
    stack: Stack, judge: Judge
) -> None:
    make_sure_of_a_way_back(stack)
    old, replaced = stack.live(), stack.idle_machines()
    wanted = running_on(replaced[0])
    assert wanted[1] == "active"
    replaced[-1].change_host_key()
    with live_untouched(stack):
        ended = stack.run("deploy", ref=stack.other_ref())
    assert_refused(ended, replaced[-1].name, "another SSH host key")
    before = fingerprint(stack, old)
    for machine in replaced:
        stack.destroy(machine)
    ended = stack.run("provision").expect("done")
    # HAProxy's configuration has the addresses of the new ones.
    assert fingerprint(stack, old) | {"proxy": ""} == before | {"proxy": ""}
    new = stack.idle_machines()
    assert not {machine.droplet_id for machine in new} & {machine.droplet_id for machine in replaced}
    # They have what their color ran, without a deploy.
    assert {running_on(machine) for machine in new} == {wanted}, ended.report["message"]
    started = time.time()
    stack.run("rollback").expect("live and confirmed")
    assert stack.live() != old
    assert_none_failed(stack, lasts(judge, started, time.time()))


def test_a_second_provisioning_changes_nothing(stack: Stack) -> None:
    before = {(machine.name, machine.droplet_id) for machine in stack.sandbox.machines()}
    ended = stack.run("provision").expect("done")
    assert {(machine.name, machine.droplet_id) for machine in stack.sandbox.machines()} == before
    assert stack.client.xcom(ended.run, "create_droplets") == []
    assert stack.client.xcom(ended.run, "firewalls") == []
    assert "SSH is open" not in ended.report["message"]
    assert f"(clients find the app at {stack.proxy().address})" in ended.report["message"]


@pytest.mark.parametrize(
    ("dag", "conf", "outcome"),
    [("dry_run", {"ref": "v1"}, "done"), ("deploy", {"ref": "v1", "dry_run": True}, "would succeed")],
    ids=["by its own DAG", "in the place of a deploy"],
)
def test_a_dry_run_succeeds_and_changes_nothing(
    stack: Stack, dag: str, conf: dict[str, Any], outcome: str
) -> None:
    before = {color: fingerprint(stack, color) for color in ("blue", "green")}
    ended = stack.run(dag, **conf).expect(outcome)
    assert ended.state == "success"
    assert ended.report["message"].startswith("dry run of v1")
    # The firewalls are as provisioning has made them.
    assert "bluegreen-my-perl-app" not in str(stack.client.xcom(ended.run, "check", "findings"))
    assert {color: fingerprint(stack, color) for color in ("blue", "green")} == before


def test_a_deploy_of_what_is_live_touches_nothing(stack: Stack) -> None:
    ref = stack.live_ref()
    before = {color: fingerprint(stack, color) for color in ("blue", "green")}
    ended = stack.run("deploy", ref=ref)
    assert ended.expect("already live").state == "success"
    assert f"deploy of {ref}" in ended.report["message"]
    assert {color: fingerprint(stack, color) for color in ("blue", "green")} == before


@pytest.mark.parametrize("ref", ["--upload-pack=x", "a b", "a\\b", "../x", "x" * 300, "", "v1\n"])
def test_a_malformed_ref_is_refused_by_the_api_and_never_becomes_a_run(stack: Stack, ref: str) -> None:
    with pytest.raises(ApiError, match="ref") as caught:
        stack.client.trigger("bluegreen_deploy__my_perl_app", {"ref": ref})
    assert caught.value.status == 400


def test_a_missing_ref_is_refused_by_the_api(stack: Stack) -> None:
    with pytest.raises(ApiError) as caught:
        stack.client.trigger("bluegreen_deploy__my_perl_app", {"reff": "v1"})
    assert caught.value.status == 400


def test_an_unknown_ref_is_refused_before_any_droplet_is_asked(stack: Stack) -> None:
    droplet = stack.idle_machines()[0]
    logins = "journalctl --unit=ssh --quiet --grep='Accepted publickey' | wc -l"
    before = droplet.run(logins).stdout
    # A branch may be called like this, so nothing but quoting keeps a shell from it.
    ended = stack.run("deploy", ref="$(id);nope")
    assert_refused(ended, "there is no branch or tag '$(id);nope'", "my_perl_app.git")
    assert droplet.run(logins).stdout == before


def test_digitalocean_in_trouble_ends_the_run_with_one_line(stack: Stack) -> None:
    stack.sandbox.fault("api", status=401, path="/v2/*")
    with live_untouched(stack):
        ended = stack.run("deploy", ref=stack.other_ref())
    stack.sandbox.clear_faults()
    assert_refused(ended, "refused the API token (401)")
