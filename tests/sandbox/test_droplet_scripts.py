"""Releases on a real machine: built, refused, killed half way, pruned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.protocol import Verb
from bluegreen.release.jobs import JobState
from bluegreen.release.release import (
    NEEDED_TOOLS,
    RESERVE_INODES,
    RESERVE_MB,
    deploy_program,
    deploy_unit,
    failure_cause,
)
from sandbox import Sandbox
from tests.sandbox.app_droplet import APP, ROOT, SYSTEM_NAME, AppDroplet, created
from tests.sandbox.releases import Commit, answering, comes_back, refused, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox


@pytest.fixture
def bare_droplet(sandbox: Sandbox, repository: Path) -> Iterator[AppDroplet]:
    with created(sandbox, "scripts-bare") as machine:
        yield AppDroplet(machine, f"{sandbox.git_url}/{repository.name}")


def test_first_release_then_another_over_it(bare_droplet: AppDroplet, revisions: dict[str, str]) -> None:
    empty = bare_droplet.facts()
    assert (empty.current, bare_droplet.main_pid()) == (None, 0)
    assert (empty.releases, empty.missing_users) == ((), ())
    for tag in ("v1", "v2"):
        running(bare_droplet, revisions[tag])
        assert f"<h1>My Perl app {tag}</h1>" in bare_droplet.get().text
        facts = bare_droplet.facts()
        assert (facts.current, facts.unit.ActiveState) == (revisions[tag], "active")
        assert f"{ROOT}/releases/{revisions[tag]}/local/lib/perl5/Try/Tiny.pm" in loaded_modules(bare_droplet)
    assert facts.releases == tuple(sorted((revisions["v1"], revisions["v2"])))
    assert all(facts.tools[tool] for tool in NEEDED_TOOLS)
    owner = bare_droplet.machine.run(["stat", "-c", "%U", f"{ROOT}/current/", f"{ROOT}/current/lib"]).stdout
    assert owner.split() == ["root", "root"]
    assert bare_droplet.machine.run(["systemctl", "is-enabled", SYSTEM_NAME]).stdout == "enabled\n"
    # Fails if the exposure is above 1.2.
    bare_droplet.machine.run(["systemd-analyze", "security", "--threshold=12", f"{SYSTEM_NAME}.service"])


def loaded_modules(droplet: AppDroplet) -> str:
    """Where perl finds the vendored module, for the user that the app runs as."""
    program = 'require Try::Tiny; print $INC{"Try/Tiny.pm"}'
    library = f"PERL5LIB=$(realpath {ROOT}/current)/local/lib/perl5"
    return droplet.machine.run(f"runuser -u {SYSTEM_NAME} -- env {library} perl -e '{program}'").stdout


def test_every_answer_proves_its_revision(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v4-bad"])
    answers = [droplet.get(path) for path in ["/"] * 20 + ["/nothing", "/health"]]
    assert {answer.status_code for answer in answers} == {200, 404, 500}
    assert {answer.headers["X-Revision"] for answer in answers} == {revisions["v4-bad"]}


def test_unchanged_dependencies_are_not_built_again(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v1"])
    droplet.machine.run(["rm", "-rf", f"{ROOT}/releases/{revisions['v2']}"])
    report = droplet.deploy(revisions["v2"])
    assert "dependencies are unchanged" in report.lines


def test_release_that_does_not_compile_is_refused(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v2"])
    before = droplet.facts(), droplet.main_pid()
    cause = refused(droplet, revisions["v3-broken"])
    assert cause.startswith("the app does not load: syntax error at lib/MyPerlApp.pm line 57")
    after = droplet.facts(), droplet.main_pid()
    assert (after[0].current, after[1], after[0].releases) == (
        before[0].current,
        before[1],
        before[0].releases,
    )
    assert droplet.get("/health").status_code == 200
    leftovers = droplet.machine.run(f"ls {ROOT}/releases | grep partial", check=False).stdout
    assert leftovers == ""


def test_full_disk_is_refused(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v2"])
    before = droplet.facts().current, droplet.main_pid()
    droplet.machine.run(["rm", "-rf", f"{ROOT}/releases/{revisions['v1']}", f"{ROOT}/reserve"])
    droplet.machine.fill_disk()
    try:
        assert refused(droplet, revisions["v1"]).startswith(
            f"No space left on the disk of {ROOT}: 0 MB are free"
        )
        # Without the check beforehand, the first write that fails must tell the same.
        assert f"No space left on the disk of {ROOT}" in refused(droplet, revisions["v1"], min_free_mb=0)
        assert (droplet.facts().current, droplet.main_pid()) == before
        assert droplet.get("/version").status_code == 200
    finally:
        droplet.machine.free_disk()
    running(droplet, revisions["v1"])


def test_a_release_that_fills_the_disk_leaves_room_for_the_next_one(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v2"])
    droplet.machine.run(["rm", "-rf", f"{ROOT}/releases/{revisions['v1']}"])
    filler = f"/var/lib/{SYSTEM_NAME}/filler"
    droplet.machine.run(
        f"runuser -u {SYSTEM_NAME} -- dd if=/dev/zero of={filler} bs=1M status=none", check=False
    )
    facts = droplet.facts()
    assert facts.disk_free_mb + facts.disk_reserved_mb == RESERVE_MB
    running(droplet, revisions["v1"])
    assert droplet.machine.run(["test", "-e", f"{ROOT}/reserve"], check=False).returncode == 1
    droplet.machine.run(["rm", filler])
    running(droplet, revisions["v2"])
    kept = droplet.machine.run(f"stat -c '%s %U' {ROOT}/reserve/room; ls {ROOT}/reserve | wc -l").stdout
    assert kept == f"{RESERVE_MB << 20} root\n{RESERVE_INODES + 1}\n"


def test_a_release_that_fills_the_disk_with_files_leaves_room_for_the_next_one(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v2"])
    droplet.machine.run(["rm", "-rf", f"{ROOT}/releases/{revisions['v1']}"])
    files = f"/var/lib/{SYSTEM_NAME}/files"
    program = 'mkdir $ARGV[0]; while (open my $file, ">", "$ARGV[0]/" . $n++) { }'
    droplet.machine.run(["runuser", "-u", SYSTEM_NAME, "--", "perl", "-e", program, files])
    try:
        # What other programs on the machine make and remove meanwhile is not much.
        assert int(droplet.machine.run("df --output=iavail /opt | tail -n 1").stdout) < 20
        facts = droplet.facts()
        assert RESERVE_INODES <= (facts.inodes_free or 0) + facts.inodes_reserved < RESERVE_INODES + 30
        running(droplet, revisions["v1"])
        assert droplet.machine.run(["test", "-e", f"{ROOT}/reserve"], check=False).returncode == 1
    finally:
        droplet.machine.run(["rm", "-rf", files])
    running(droplet, revisions["v2"])
    assert droplet.machine.run(["test", "-e", f"{ROOT}/reserve/room"], check=False).returncode == 0


def test_release_that_is_not_healthy_gives_way_to_the_one_before(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v2"])
    cause = refused(droplet, revisions["v1"], health_path="/nothing", health_timeout=5)
    assert cause.startswith(
        "the app was started but did not become healthy within 5 s: it answers 404, asked as http://"
    )
    assert cause.endswith(f" (this droplet runs {revisions['v2'][:12]} again)")
    assert droplet.facts().current == revisions["v2"]
    comes_back(droplet, revisions["v2"])


def test_an_app_that_answers_to_one_host_name_is_asked_for_that(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    cause = refused(droplet, revisions["v9-mounted"], health_timeout=5)
    assert "/health; see traffic.public_url and validation.statuses" in cause
    running(droplet, revisions["v9-mounted"], health_host="www.example.com")


def test_first_release_that_is_not_healthy_leaves_nothing_running(
    bare_droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    cause = refused(bare_droplet, revisions["v1"], health_path="/nothing", health_timeout=5)
    assert "it answers 404, asked as http://" in cause
    facts = bare_droplet.facts()
    assert (facts.current, facts.unit.ActiveState) == (None, "inactive")


def test_server_command_that_does_not_run_the_wrapper(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    command = ("starman", "--listen", "{listen}", "--disable-keepalive", "app.psgi")
    cause = refused(droplet, revisions["v1"], command=command, health_timeout=5)
    assert "its answers have no X-Revision" in cause


def test_revision_that_is_not_there(droplet: AppDroplet) -> None:
    cause = refused(droplet, "c" * 40)
    assert cause.startswith(f"cannot fetch {'c' * 40} from {droplet.repository}: ")


def test_repository_that_is_not_there(
    sandbox: Sandbox, bare_droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    url = f"{sandbox.git_url}/nothing.git"
    assert refused(bare_droplet, revisions["v1"], repository=url).startswith(f"cannot fetch from {url}: ")


def test_forge_in_trouble_is_asked_again_and_one_that_refuses_is_not(
    sandbox: Sandbox, droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    droplet.machine.run(["rm", "-rf", f"{ROOT}/repo.git", f"{ROOT}/releases/{revisions['v2']}"])
    for kind, about in (("status", {"status": 503}), ("reset", {}), ("cut", {}), ("html", {"status": 200})):
        sandbox.fault("forge", kind, path="/git/*", count=1, **about)
    droplet.deploy(revisions["v2"])
    sandbox.clear_faults()
    droplet.machine.run(["rm", "-rf", f"{ROOT}/repo.git", f"{ROOT}/releases/{revisions['v1']}"])
    sandbox.fault("forge", "status", path="/git/*", status=403)
    assert "error: 403" in refused(droplet, revisions["v1"])


def test_protocol_that_could_run_a_command(droplet: AppDroplet) -> None:
    cause = refused(droplet, "d" * 40, repository="ext::sh -c id% >/tmp/hacked")
    assert "transport 'ext' not allowed" in cause


def test_dependency_that_is_not_carried(droplet: AppDroplet, commit: Commit) -> None:
    def remove_tarball(clone: Path) -> None:
        next(clone.glob("vendor/cache/**/*.tar.gz")).unlink()
        (clone / "vendor/cache/.keep").touch()
        with (clone / "cpanfile").open("a", encoding="utf-8") as cpanfile:
            cpanfile.write("# other dependencies, as far as the cache is concerned\n")

    cause = refused(droplet, commit("no-tarball", remove_tarball))
    assert cause == "cannot install the dependencies: ! Failed to fetch distribution Try-Tiny-0.31"


def test_links_in_the_repository_lead_root_nowhere(
    droplet: AppDroplet, revisions: dict[str, str], commit: Commit
) -> None:
    """What root writes into a release must not follow what the repository has put there."""

    def add_links(clone: Path) -> None:
        (clone / "REVISION").symlink_to("/etc/hostname")
        (clone / ".bluegreen").symlink_to("/etc")
        (clone / "local").symlink_to("/usr/local")

    running(droplet, revisions["v1"])
    before = droplet.machine.run("ls -laR /etc /usr/local | sha256sum; cat /etc/hostname").stdout
    running(droplet, commit("links", add_links))
    assert droplet.machine.run("ls -laR /etc /usr/local | sha256sum; cat /etc/hostname").stdout == before


def test_only_good_releases_count_for_retention(
    droplet: AppDroplet, revisions: dict[str, str], commit: Commit
) -> None:
    good = [revisions[tag] for tag in ("v1", "v2", "v4-bad")]
    for revision in good:
        running(droplet, revision)
    for number in range(3):
        bad = commit(f"bad-{number}", lambda clone, number=number: (clone / "n").write_text(f"{number}"))  # type: ignore[misc]
        refused(droplet, bad, health_path="/nothing", health_timeout=1)
    report = droplet.deploy(good[0], keep_releases=2)
    assert report.state is JobState.SUCCESS, report.lines
    # The running one, the one before it, and the last failed one for whoever wants to look at it.
    assert set(droplet.facts().releases) == {good[0], good[2], bad}


def test_what_a_rollback_goes_back_to_outlives_what_was_healthy_and_rejected(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    kept, *rejected = (revisions[tag] for tag in ("v1", "v2", "v4-bad"))
    running(droplet, kept)
    for revision in rejected:
        report = droplet.deploy(revision, keep_releases=1, kept=kept)
        assert report.state is JobState.SUCCESS, report.lines
    assert set(droplet.facts().releases) >= {kept, rejected[-1]}
    # And it is what runs again, rather than what was rejected last.
    cause = refused(droplet, rejected[0], kept=kept, health_path="/nothing", health_timeout=5)
    assert f"this droplet runs {kept[:12]} again" in cause
    comes_back(droplet, kept)


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment_and_run_again(
    seed: int, droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    chance = random.Random(seed)  # noqa: S311
    first, second = (revisions["v1"], revisions["v2"]) if seed % 2 else (revisions["v2"], revisions["v1"])
    running(droplet, first)
    droplet.machine.run(["rm", "-rf", f"{ROOT}/releases/{second}", f"{ROOT}/activated/{second}"])
    if seed % 3 == 0:
        droplet.machine.run(["rm", "-rf", f"{ROOT}/repo.git", f"{ROOT}/cache"])
    unit = droplet.start(droplet.release(second))
    killer = f"sleep {chance.uniform(0, 1.2):.3f}; systemctl kill --signal=KILL {unit}.service"
    droplet.machine.run(killer, check=False)
    current = droplet.facts().current
    assert current in (first, second)
    assert droplet.machine.run(["test", "-x", f"{ROOT}/releases/{current}/.bluegreen/start"]).returncode == 0
    droplet.clean(unit)
    running(droplet, second)
    assert "partial" not in droplet.machine.run(["ls", f"{ROOT}/releases"]).stdout


def test_job_survives_its_connection_and_is_attached_to(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    unit = deploy_unit(APP, revisions["v1"])
    script = "echo begin; sleep 2; echo end; exit 7"
    for _ in range(2):
        droplet.start_command(unit, script, "run-1")
    report = droplet.poll(unit, wait=0)
    assert (report.state, report.run_id) == (JobState.RUNNING, "run-1")
    # Another run meets it while it is at work, and waits for it as well.
    droplet.start_command(unit, script, "run-2")
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


def test_two_deploys_at_once_take_turns(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    units = [droplet.start(droplet.release(revisions[tag])) for tag in ("v1", "v2")]
    reports = [droplet.finish(unit) for unit in units]
    assert [report.state for report in reports] == [JobState.SUCCESS] * 2, reports
    assert answering(droplet) == droplet.facts().current
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
    unit = deploy_unit(APP, "e" * 40)
    program = deploy_program(claimed.release("e" * 40))
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
    left = deploy_unit(APP, "e" * 40)
    # For longer than a deploy waits for the lock.
    lock, directory = f"/run/bluegreen/{SYSTEM_NAME}.lock", f"/run/bluegreen/{left}"
    claimed.machine.run(f"mkdir {directory}; echo 7 >{directory}/token")
    claimed.machine.run(["systemd-run", "--quiet", f"--unit={left}", "flock", lock, "sleep", "600"])
    wait_until_locked(claimed)
    unit = claimed.start(claimed.release(revisions["v2"]), "run-8", token=8)
    report = claimed.finish(unit)
    assert report.state is JobState.SUCCESS, report.lines
    assert claimed.poll(left, wait=0).state is JobState.MISSING
    claimed.clean(unit, token=8)


def test_release_that_was_built_while_another_run_claimed_the_droplet_is_not_activated(
    claimed: AppDroplet, revisions: dict[str, str]
) -> None:
    running(claimed, revisions["v1"])
    before = claimed.facts().current, claimed.main_pid()
    hold_back(claimed)
    unit = claimed.start(claimed.release(revisions["v2"]), "run-7", token=7)
    # As if the claim had come where its script could stop nothing.
    claimed.machine.run(f"echo 8 >/var/lib/bluegreen/{SYSTEM_NAME}.token; systemctl stop holder")
    report = claimed.finish(unit)
    assert report.state is JobState.FAILED
    assert failure_cause(report.lines) == "another run has claimed this droplet; nothing was activated"
    assert (claimed.facts().current, claimed.main_pid()) == before
    assert answering(claimed) == revisions["v1"]
    claimed.clean(unit)


def test_job_that_is_attached_to_is_the_later_run_s(claimed: AppDroplet, revisions: dict[str, str]) -> None:
    running(claimed, revisions["v1"])
    hold_back(claimed)
    release = claimed.release(revisions["v2"])
    unit = claimed.start(release, "run-7", token=7)
    assert claimed.start(release, "run-8", token=8) == unit
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
    release = replace(claimed.release(revisions["v1"]), health_path="/nothing", health_timeout=5)
    unit = claimed.start(release, "run-7", token=7)
    waits = f"waiting for http://{release.listen_address}:8080/nothing"
    until(lambda: waits in claimed.poll(unit, wait=0).lines, "it is started")
    started = claimed.main_pid()
    claimed.machine.run(f"echo 8 >/var/lib/bluegreen/{SYSTEM_NAME}.token")
    cause = failure_cause(claimed.finish(unit).lines)
    assert cause.endswith("(another run has claimed this droplet, so nothing was done about that)")
    assert (claimed.facts().current, claimed.main_pid()) == (revisions["v1"], started)
    claimed.clean(unit)


def test_secrets_of_the_app_s_environment_do_not_leave_the_droplet(
    droplet: AppDroplet, commit: Commit
) -> None:
    secrets = (
        'DB_PASSWORD="hunter2\\"hunter3"\nDSN=dbi:Pg:host=db;password=tr0ub4dor\nPEM="line-one\nline-two"\n'
    )
    program = (
        "warn \"DBI connect('host=db;password=tr0ub4dor',...) failed\";"
        ' print STDERR "$_\\n" for $ENV{DB_PASSWORD}, split /\\n/, $ENV{PEM};'
        " die \"DBI connect('host=db;password=tr0ub4dor',...) failed: no route\";"
    )

    def tells(clone: Path) -> None:
        (clone / "app.psgi").write_text(program)

    revision = commit("tells", tells)
    droplet.machine.run(["tee", f"/etc/default/{SYSTEM_NAME}"], text=secrets)
    try:
        report = droplet.deploy(revision)
    finally:
        droplet.machine.run(["rm", f"/etc/default/{SYSTEM_NAME}"])
    said = "\n".join(report.lines)
    for secret in ("hunter2", "hunter3", "tr0ub4dor", "line-one", "line-two"):
        assert secret not in said
    assert "[DB_PASSWORD]" in report.lines
    assert failure_cause(report.lines).startswith("the app does not load: DBI connect(")


def test_facts_change_nothing(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v1"])
    droplet.machine.run(["touch", "/run/mark"])
    droplet.facts()
    changed = droplet.machine.run(
        "find / -xdev -newer /run/mark -type f "
        "-not -path '/proc/*' -not -path '/sys/*' -not -path '/var/log/*'"
    ).stdout
    assert changed == ""
