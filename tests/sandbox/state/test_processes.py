"""Processes and timers follow the traffic, one color at a time, whatever dies, and no request fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Machine
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.judged import judged
from tests.sandbox.stack import RUN_SECONDS, SYSTEM_NAME, Ended, Stack
from tests.sandbox.state.state_fleet import PATHS
from tests.sandbox.ticks import EVERY, NAMES, colors, sections, ticks, units
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

WORKER = f"{SYSTEM_NAME}-worker@1.service"
BEAT = f"{SYSTEM_NAME}-beat.timer"
ON, OFF = "active enabled, active enabled", "inactive disabled, inactive disabled"
# What only one droplet of a color runs is on its first one.
LIVE = [ON, "active enabled, inactive disabled"]
IDLE = [OFF, OFF]
# Seconds that the worker needs to finish what it has begun.
ENDS_AFTER = 3


@pytest.fixture(scope="module")
def working(stack: Stack) -> Iterator[Stack]:
    """The fleet with a worker and a timer at work on the live color."""
    with settings(stack, sections(ENDS_AFTER), lambda: stack.client.task_ids(DEPLOY)):
        ended = stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert f"beat and worker started on {stack.live()} (2 droplets)" in ended.report["message"]
        yield stack
        with settings(stack, {"processes": {}, "timers": {}}):
            stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")


def states(stack: Stack) -> tuple[list[str], list[str]]:
    """How everything is on the droplets of the live color, and of the other one."""
    return list(units(stack, stack.live()).values()), list(units(stack, stack.idle()).values())


def works(stack: Stack, machine: Machine, since: float) -> bool:
    return any(one.droplet == machine.name for one in ticks(stack, "worker", since))


def test_worker_and_timer_follow_each_switch_and_a_rollback(working: Stack, tmp_path: Path) -> None:
    began, old = time.time(), working.live()
    with judged(working.environment.proxy_url(), tmp_path, PATHS) as found:
        until(lambda: ticks(working, "beat", began), "the timer has fired")
        ended = working.run("deploy", ref=working.other_ref()).expect("live and confirmed")
        new = working.live()
        assert f"beat and worker moved to {new} (2 droplets)" in ended.report["message"]
        until(lambda: colors(ticks(working, "beat", began)) == [old, new], "the timer fires there")
        ended = working.run("rollback").expect("live and confirmed")
        assert f"beat and worker moved to {old} (2 droplets)" in ended.report["message"]
        until(lambda: colors(ticks(working, "beat", began)) == [old, new, old], "the timer is back")
    assert colors(ticks(working, "worker", began)) == [old, new, old]
    assert states(working) == (LIVE, IDLE)
    beats = ticks(working, "beat", began)
    assert len({int(one.at) // EVERY for one in beats}) == len(beats)
    for name in NAMES:
        for one in ticks(working, name, began):
            release = working.machines(one.color)[0].run(f"readlink -f /opt/{SYSTEM_NAME}/current").stdout
            assert one.directory == release.strip()
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples


def test_airflow_dies_when_nobody_works_and_the_same_run_goes_on_after_that(working: Stack) -> None:
    began, old, airflow = time.time(), working.live(), working.airflow
    run = working.trigger("deploy", ref=working.other_ref())
    first, *_ = working.machines(old)
    until(
        lambda: first.run(["systemctl", "is-active", WORKER], check=False).stdout == "deactivating\n",
        "the worker is asked to end",
        RUN_SECONDS,
    )
    parts = (airflow.scheduler, airflow.dag_processor, airflow.api_server)
    for part in parts:
        part.kill()
    assert working.live() != old
    until(lambda: states(working) == (IDLE, IDLE), "nobody works")
    for part in parts:
        part.start()
    airflow.wait_healthy()
    client = working.client
    client.wait(run, RUN_SECONDS)
    ended = Ended(run, "", client.xcom(run, "report", "report")).expect("live and confirmed")
    assert f"beat and worker started on {working.live()}" in ended.report["message"]
    assert states(working) == (LIVE, IDLE)
    assert colors(ticks(working, "worker", began)) == [old, working.live()]


def test_a_droplet_without_power_keeps_everything_on_its_color_until_it_is_back(working: Stack) -> None:
    began, old = time.time(), working.live()
    machine = working.machines(old)[1]
    run = working.trigger("deploy", ref=working.other_ref())
    until(lambda: working.live() != old, "traffic moves", RUN_SECONDS)
    machine.power_off()
    try:
        client = working.client
        assert client.wait(run, RUN_SECONDS) == "failed"
        ended = Ended(run, "failed", client.xcom(run, "report", "report")).expect("live and confirmed")
        message = ended.report["message"]
        assert f"beat and worker stay on {old}, because {machine.name} may go on running" in message
        assert "then run bluegreen_provision__my_perl_app" in message
        assert list(units(working, working.live()).values()) == IDLE
    finally:
        machine.power_on()
        working.wait_for_ssh(machine)
    assert states(working) == (IDLE, LIVE)
    working.run("provision").expect("done")
    assert states(working) == (LIVE, IDLE)
    assert colors(ticks(working, "worker", began)) == [old, working.live()]


def test_a_restart_brings_back_what_a_live_droplet_runs_and_nothing_on_an_idle_one(working: Stack) -> None:
    live, idle = working.machines(working.live())[0], working.machines(working.idle())[0]
    for machine in (live, idle):
        machine.power_off()
    began = time.time()
    for machine in (live, idle):
        machine.power_on()
        working.wait_for_ssh(machine)
    until(lambda: works(working, live, began), "the worker works again")
    until(lambda: states(working) == (LIVE, IDLE), "as before the restart")
    assert not works(working, idle, began)


def test_that_nobody_works_is_reported_until_a_run_with_nothing_to_deploy_starts_it(working: Stack) -> None:
    ref = working.live_ref()
    for machine in working.machines(working.live()):
        machine.run(["systemctl", "disable", "--quiet", "--now", WORKER, BEAT])
    dry = working.run("dry_run", ref=ref)
    assert dry.state == "failed"
    assert f"{working.live()}: no droplet runs beat and worker" in dry.report["message"]
    ended = working.run("deploy", ref=ref).expect("already live")
    assert f"beat and worker started on {working.live()} (2 droplets)" in ended.report["message"]
    assert states(working) == (LIVE, IDLE)
    assert working.run("dry_run", ref=ref).state == "success"


def test_what_may_overlap_is_at_work_on_both_colors_for_a_while_and_the_rest_is_not(working: Stack) -> None:
    began, old = time.time(), working.live()
    changes = sections(ENDS_AFTER)
    changes["processes"]["worker"]["overlap"] = True
    with settings(working, changes):
        ended = working.run("deploy", ref=working.other_ref()).expect("live and confirmed")
    new = working.live()
    assert f"beat and worker moved to {new} (2 droplets)" in ended.report["message"]
    worked = {
        color: [one.at for one in ticks(working, "worker", began) if one.color == color]
        for color in (old, new)
    }
    print(f"both colors at work for {max(worked[old]) - min(worked[new]):.1f} s")
    assert min(worked[new]) < max(worked[old])
    until(lambda: colors(ticks(working, "beat", began)) == [old, new], "the timer fires there")
    assert states(working) == (LIVE, IDLE)
