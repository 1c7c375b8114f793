"""Jobs on a real machine: followed, attached to, stopped, and each the latest run's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.protocol import Verb
from agent.release_name import revision_of
from bluegreen.release.jobs import JobState
from bluegreen.release.release import deploy_unit, failure_cause
from tests.sandbox.app_droplet import APP, ROOT, SYSTEM_NAME, AppDroplet, Built
from tests.sandbox.releases import answering, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox

# Until a test ends it: a busy host may take any number of seconds to look.
WAITS = "sleep 7654"


def test_job_survives_its_connection_and_is_attached_to(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    unit = deploy_unit(APP, revisions["v1"])
    script = f"echo begin; {WAITS}; echo end; exit 7"
    for _ in range(2):
        droplet.start_command(unit, script, "run-1")
    report = droplet.poll(unit, wait=0)
    assert (report.state, report.run_id) == (JobState.RUNNING, "run-1")
    # Another run meets it while it is at work, and waits for it as well.
    droplet.start_command(unit, script, "run-2")
    # Of a signal other than this, the shell would write a line.
    ends = ["pkill", "--signal", "INT", "--full", f"^{WAITS}"]
    until(lambda: droplet.machine.run(ends, check=False).returncode == 0, "it waits")
    report = droplet.finish(unit)
    assert (report.state, report.exit_status, report.lines) == (JobState.FAILED, 7, ("begin", "end"))
    # Its end is kept for its own run, and no obstacle for the next.
    droplet.start_command(unit, "echo again", "run-1")
    assert droplet.finish(unit).exit_status == 7
    droplet.start_command(unit, "echo again", "run-2")
    assert droplet.finish(unit).lines == ("again",)
    droplet.clean(unit)
    assert droplet.poll(unit).state is JobState.MISSING


def test_job_is_heard_to_the_last_half_line_while_the_journal_takes_nothing(droplet: AppDroplet) -> None:
    unit = deploy_unit(APP, "e" * 40)
    droplet.machine.run(["systemctl", "kill", "--signal=STOP", "systemd-journald.service"])
    try:
        script = "echo one; printf two; sleep 1; echo ' halves'; printf three >&2; exit 7"
        droplet.start_command(unit, script, "run-1")
        report = droplet.finish(unit)
    finally:
        droplet.machine.run(["systemctl", "kill", "--signal=CONT", "systemd-journald.service"])
    assert (report.exit_status, report.lines) == (7, ("one", "two halves", "three"))
    droplet.clean(unit)


def test_job_that_takes_too_long(droplet: AppDroplet) -> None:
    unit = deploy_unit(APP, "e" * 40)
    droplet.start_command(unit, "sleep 60", timeout=1)
    report = droplet.finish(unit)
    assert (report.state, report.result) == (JobState.FAILED, "timeout")
    droplet.clean(unit)


def test_job_that_is_stopped(droplet: AppDroplet) -> None:
    unit = deploy_unit(APP, "e" * 40)
    droplet.start_command(unit, "sleep 60", "run-1")
    droplet.clean(unit)
    assert droplet.poll(unit).state is JobState.MISSING


def sent(droplet: AppDroplet, revision: str) -> Built:
    """Build a revision, and send its artifact."""
    built = droplet.must_build(revision)
    droplet.send(built)
    return built


def start_deploy(droplet: AppDroplet, built: Built, run_id: str = "run-1", token: int | None = None) -> str:
    """Start the job that installs and activates an artifact that was sent; return its unit."""
    unit = deploy_unit(APP, revision_of(built.release))
    return droplet.start(unit, droplet.program(built), run_id, token)


def test_two_deploys_at_once_take_turns(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    built = [droplet.must_build(revisions[tag]) for tag in ("v1", "v2")]
    for one in built:
        droplet.send(one)
    units = [start_deploy(droplet, one) for one in built]
    reports = [droplet.finish(unit) for unit in units]
    assert [report.state for report in reports] == [JobState.SUCCESS] * 2, reports
    assert answering(droplet) == revision_of(droplet.facts().current or "")
    for unit in units:
        droplet.clean(unit)


@pytest.fixture
def claimed(droplet: AppDroplet) -> Iterator[AppDroplet]:
    """A droplet on which nothing stays of the claims of a test, nor of who held its deploys back."""
    yield droplet
    droplet.machine.run("systemctl stop holder", check=False)
    droplet.machine.run("rm -f /run/bluegreen/*.token /var/lib/bluegreen/*.token")


def start_job(droplet: AppDroplet, unit: str, token: int, app: str = SYSTEM_NAME) -> None:
    """Start a job that does not end by itself."""
    droplet.start_command(unit, "sleep 60", f"run-{token}", token=token, app=app)
    assert droplet.poll(unit, wait=0, app=app).state is JobState.RUNNING


def hold_back(droplet: AppDroplet) -> None:
    """Keep deploys from their first step until ``holder`` is stopped."""
    lock = f"/run/bluegreen/{SYSTEM_NAME}.lock"
    droplet.machine.run(f"systemd-run --quiet --collect --unit=holder flock {lock} sleep 60")
    wait_until_locked(droplet)


def wait_until_locked(droplet: AppDroplet) -> None:
    is_held = f"! flock --nonblock /run/bluegreen/{SYSTEM_NAME}.lock true"
    until(lambda: droplet.machine.run(is_held, check=False).returncode == 0, "deploys are held back")


def test_run_that_is_not_the_last_one_starts_nothing(claimed: AppDroplet, revisions: dict[str, str]) -> None:
    running(claimed, revisions["v1"])
    before = claimed.main_pid()
    claimed.claim(8)
    built = Built(f"{'e' * 40}-{'d' * 16}", "d" * 64, {"name": "x.tar.gz", "sha256": "d" * 64, "size": 1})
    unit, program = deploy_unit(APP, "e" * 40), claimed.program(built)
    start = {"unit": unit, "run_id": "run-7", "timeout": 60, "token": 7, "program": program}
    assert claimed.refusal(Verb.START_JOB, **start) == (
        "another run has claimed this droplet since (its token 8 is newer than 7); "
        "nothing was started, trigger a new run"
    )
    assert claimed.poll(unit).state is JobState.MISSING
    assert claimed.main_pid() == before
    shown = claimed.machine.run(["stat", "-c", "%U %a", f"/var/lib/bluegreen/{SYSTEM_NAME}.token"]).stdout
    assert shown == "root 600\n"


def test_claim_stops_the_jobs_of_earlier_runs_and_no_other_app_s(claimed: AppDroplet) -> None:
    earlier, other = deploy_unit(APP, "e" * 40), deploy_unit(f"{APP}_2", "e" * 40)
    # Each app's commands are in a group of its own, which the first boot makes.
    claimed.machine.run(["useradd", "--system", "--user-group", "--", f"{SYSTEM_NAME}_2"])
    start_job(claimed, earlier, 7)
    start_job(claimed, other, 7, app=f"{SYSTEM_NAME}_2")
    half_built = f"{ROOT}/releases/{'e' * 40}.partial.x"
    claimed.machine.run(["mkdir", "-p", half_built, f"{ROOT}/cache"])
    claimed.claim(8)
    assert claimed.machine.run(["test", "-e", half_built], check=False).returncode == 1
    assert claimed.poll(earlier, wait=0).state is JobState.MISSING
    assert claimed.poll(other, wait=0, app=f"{SYSTEM_NAME}_2").state is JobState.RUNNING
    claimed.clean(other, token=7, app=f"{SYSTEM_NAME}_2")


def test_claim_is_not_stopped_by_what_the_job_of_an_earlier_run_has_filled(claimed: AppDroplet) -> None:
    claimed.machine.run("mount -t tmpfs -o size=200k tmpfs /run/bluegreen")
    try:
        unit = deploy_unit(APP, "e" * 40)
        claimed.start_command(unit, "yes | head -c 5M; sleep 60", "run-7", token=7)
        is_full = "df --output=avail /run/bluegreen | grep -x ' *0'"
        until(lambda: claimed.machine.run(is_full, check=False).returncode == 0, "its log fills all there is")
        claimed.claim(8)
        assert claimed.poll(unit, wait=0).state is JobState.MISSING
        assert claimed.machine.run(["cat", f"/run/bluegreen/{SYSTEM_NAME}.token"]).stdout == "8\n"
    finally:
        claimed.machine.run("umount --lazy /run/bluegreen")


def test_an_app_that_was_stopped_stays_so_until_a_release_is_activated(
    claimed: AppDroplet, revisions: dict[str, str]
) -> None:
    def service() -> list[str]:
        ask = f"systemctl is-active {SYSTEM_NAME}; systemctl is-enabled {SYSTEM_NAME}"
        return claimed.machine.run(ask, check=False).stdout.split()

    running(claimed, revisions["v1"])
    claimed.claim(8)
    assert "another run has claimed this droplet" in claimed.refusal(Verb.STOP, token=7)
    assert service() == ["active", "enabled"]
    for _ in range(2):
        assert claimed.call(Verb.STOP, token=9)["stopped"]
        assert service() == ["inactive", "disabled"]
    claimed.machine.run("rm -f /run/bluegreen/*.token /var/lib/bluegreen/*.token")
    running(claimed, revisions["v1"])
    assert service() == ["active", "enabled"]


def test_deploy_of_another_revision_does_not_wait_for_what_a_dead_run_left_at_work(
    claimed: AppDroplet, revisions: dict[str, str]
) -> None:
    running(claimed, revisions["v1"])
    built = sent(claimed, revisions["v2"])
    left = deploy_unit(APP, "e" * 40)
    # For longer than a deploy waits for the lock.
    lock, directory = f"/run/bluegreen/{SYSTEM_NAME}.lock", f"/run/bluegreen/{left}"
    claimed.machine.run(f"mkdir {directory}; echo 7 >{directory}/token")
    claimed.machine.run(["systemd-run", "--quiet", f"--unit={left}", "flock", lock, "sleep", "600"])
    wait_until_locked(claimed)
    unit = start_deploy(claimed, built, "run-8", token=8)
    report = claimed.finish(unit)
    assert report.state is JobState.SUCCESS, report.lines
    assert claimed.poll(left, wait=0).state is JobState.MISSING
    claimed.clean(unit, token=8)


def test_release_that_was_built_while_another_run_claimed_the_droplet_is_not_activated(
    claimed: AppDroplet, revisions: dict[str, str]
) -> None:
    running(claimed, revisions["v1"])
    built = sent(claimed, revisions["v2"])
    before = claimed.facts().current, claimed.main_pid()
    hold_back(claimed)
    unit = start_deploy(claimed, built, "run-7", token=7)
    # As if the claim had come where its script could stop nothing.
    claimed.machine.run(f"echo 8 >/var/lib/bluegreen/{SYSTEM_NAME}.token; systemctl stop holder")
    report = claimed.finish(unit)
    assert report.state is JobState.FAILED
    assert failure_cause(report.lines).startswith("another run has claimed this droplet since")
    assert (claimed.facts().current, claimed.main_pid()) == before
    assert answering(claimed) == revisions["v1"]
    claimed.clean(unit)


def test_job_that_is_attached_to_is_the_later_run_s(claimed: AppDroplet, revisions: dict[str, str]) -> None:
    running(claimed, revisions["v1"])
    built = sent(claimed, revisions["v2"])
    hold_back(claimed)
    unit = start_deploy(claimed, built, "run-7", token=7)
    assert start_deploy(claimed, built, "run-8", token=8) == unit
    assert claimed.poll(unit, wait=0).run_id == "run-7"
    assert claimed.refusal(Verb.END_JOB, unit=unit, token=7).endswith("its job was left alone")
    claimed.machine.run("systemctl stop holder")
    report = claimed.finish(unit)
    assert report.state is JobState.SUCCESS, report.lines
    assert answering(claimed) == revisions["v2"]
    claimed.clean(unit, token=8)


def test_release_that_turns_out_bad_is_left_to_the_run_that_has_claimed_the_droplet_since(
    claimed: AppDroplet, revisions: dict[str, str]
) -> None:
    running(claimed, revisions["v2"])
    built = sent(claimed, revisions["v1"])
    program = claimed.program(built, health={"path": "/nothing", "timeout": 12})
    unit = claimed.start(deploy_unit(APP, revisions["v1"]), program, "run-7", token=7)
    waits = f"waiting for http://{claimed.machine.private_address}:8080/nothing"
    until(lambda: waits in claimed.poll(unit, wait=0).lines, "it is started")
    started = claimed.main_pid()
    claimed.machine.run(f"echo 8 >/var/lib/bluegreen/{SYSTEM_NAME}.token")
    cause = failure_cause(claimed.finish(unit).lines)
    assert cause.endswith("(another run has claimed this droplet, so nothing was done about that)")
    assert (claimed.facts().current, claimed.main_pid()) == (built.release, started)
    claimed.clean(unit)
