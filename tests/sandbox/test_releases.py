"""Releases on a real machine: built, refused, killed half way, pruned."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.droplet.reserve import RESERVE_INODES, RESERVE_MB
from agent.protocol import Verb
from agent.release_name import revision_of
from bluegreen.release.jobs import JobState
from bluegreen.release.release import deploy_unit, failure_cause
from sandbox import Sandbox
from tests.sandbox.app_droplet import APP, ROOT, SYSTEM_NAME, AppDroplet, created
from tests.sandbox.releases import Commit, comes_back, refused, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox


@pytest.fixture
def bare_droplet(sandbox: Sandbox, repository: Path) -> Iterator[AppDroplet]:
    with created(sandbox, "scripts-bare") as machine:
        yield AppDroplet(machine, f"{sandbox.git_url}/{repository.name}")


NOTHING_THERE = {"path": "/nothing", "timeout": 5}


def test_a_first_release_that_is_not_healthy_leaves_nothing_running_and_one_after_another_runs(
    bare_droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    empty = bare_droplet.facts()
    assert (empty.current, bare_droplet.main_pid()) == (None, 0)
    assert (empty.releases, empty.missing_users) == ((), ())
    cause = refused(bare_droplet, revisions["v1"], health=NOTHING_THERE)
    assert "it answers 404, asked as http://" in cause
    facts = bare_droplet.facts()
    assert (facts.current, facts.unit.ActiveState) == (None, "inactive")
    releases = []
    for tag in ("v1", "v2"):
        releases.append(running(bare_droplet, revisions[tag]))
        assert f"<h1>My Perl app {tag}</h1>" in bare_droplet.get().text
        facts = bare_droplet.facts()
        assert (facts.current, facts.running) == (releases[-1], releases[-1])
        assert f"{ROOT}/releases/{releases[-1]}/local/lib/perl5/Try/Tiny.pm" in loaded_modules(bare_droplet)
    assert sorted(facts.releases) == sorted(releases)
    owners = bare_droplet.machine.run(
        f"find {ROOT}/current/ -not -user root -o -perm /022 -not -type l"
    ).stdout
    assert owners == ""
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


# A package that is never configured, until a file says that it may be.
MAKE_PACKAGE = """
mkdir --parents /root/slow/DEBIAN && cd /root/slow/DEBIAN || exit 1
printf '%s\n' 'Package: slow' 'Version: 1' 'Architecture: all' 'Maintainer: x <x@example.com>' \
    'Description: slow' >control
printf '%s\n' '#!/bin/sh' 'touch /run/configuring' '[ -e /run/quick ] || exec sleep infinity' >postinst
chmod 755 postinst
dpkg-deb --build /root/slow /root/slow.deb
systemd-run --quiet --unit=killed dpkg --install /root/slow.deb
"""


def test_a_deploy_goes_on_after_a_job_that_was_killed_inside_apt(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    machine = droplet.machine
    machine.run(MAKE_PACKAGE)
    until(lambda: machine.run("ls /run/configuring", check=False).stdout, "the package is being configured")
    machine.run("systemctl kill --signal=KILL killed; touch /run/quick")
    interrupted = machine.run("apt-get install --yes hello 2>&1", check=False).stdout
    assert "dpkg was interrupted" in interrupted
    running(droplet, revisions["v1"], fleet={"packages": ["hello"]})
    shown = machine.run("dpkg-query --show --showformat='${Status}\n' hello slow").stdout
    assert shown.splitlines() == ["install ok installed"] * 2


def test_release_that_does_not_compile_is_refused(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v2"])
    before = droplet.facts(), droplet.main_pid()
    cause = refused(droplet, revisions["v3-broken"])
    assert cause.startswith("the app does not load: syntax error at lib/MyPerlApp.pm line 57")
    after = droplet.facts(), droplet.main_pid()
    assert (after[0].current, after[1]) == (before[0].current, before[1])
    # For whoever wants to look at it.
    [broken] = set(after[0].releases) - set(before[0].releases)
    assert revision_of(broken) == revisions["v3-broken"]
    assert droplet.get("/health").status_code == 200
    leftovers = droplet.machine.run(f"ls {ROOT}/releases | grep partial", check=False).stdout
    assert leftovers == ""


def test_full_disk_is_refused(droplet: AppDroplet, revisions: dict[str, str]) -> None:
    running(droplet, revisions["v2"])
    before = droplet.facts().current, droplet.main_pid()
    built = droplet.must_build(revisions["v1"])
    droplet.send(built)
    droplet.machine.run(f"rm -rf {ROOT}/releases/{built.release} {ROOT}/reserve")
    droplet.machine.fill_disk()
    try:
        unit = droplet.start(deploy_unit(APP, revisions["v1"]), droplet.program(built))
        cause = failure_cause(droplet.finish(unit).lines)
        assert cause.startswith(f"No space left on the disk of {ROOT}: 0 MB are free")
        droplet.clean(unit)
        source = {"name": "source.tar.gz", "sha256": "0" * 64, "size": 1}
        refusal = droplet.refusal(Verb.RECEIVE, token=droplet.token(), file=source)
        assert refusal.startswith(f"No space left on the disk of {ROOT}: 0 MB are free")
        assert (droplet.facts().current, droplet.main_pid()) == before
        assert droplet.get("/version").status_code == 200
    finally:
        droplet.machine.free_disk()
    running(droplet, revisions["v1"])


def test_a_release_that_fills_the_disk_leaves_room_for_the_next_one(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v2"])
    droplet.machine.run(f"rm -rf {ROOT}/releases/{revisions['v1']}-*")
    filler = f"/var/lib/{SYSTEM_NAME}/filler"
    droplet.machine.run(
        f"runuser -u {SYSTEM_NAME} -- dd if=/dev/zero of={filler} bs=1M status=none", check=False
    )
    facts = droplet.facts()
    assert facts.disk_free_mb + facts.disk_reserved_mb == RESERVE_MB
    # The builder of the next one is a droplet like this.
    droplet.forget_artifacts()
    running(droplet, revisions["v1"])
    assert droplet.machine.run(["test", "-e", f"{ROOT}/reserve"], check=False).returncode == 1
    droplet.machine.run(["rm", filler])
    running(droplet, revisions["v2"])
    kept = droplet.machine.run(f"stat -c '%s %U' {ROOT}/reserve/room; ls {ROOT}/reserve | wc -l").stdout
    assert kept == f"{RESERVE_MB << 20} root\n{RESERVE_INODES + 1}\n"


def test_release_that_is_not_healthy_gives_way_to_the_one_before(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v2"])
    cause = refused(droplet, revisions["v1"], health=NOTHING_THERE)
    assert cause.startswith(
        "the app was started but did not become healthy within 5 s: it answers 404, asked as http://"
    )
    assert cause.endswith(f" (this droplet runs {revisions['v2'][:12]} again)")
    assert revision_of(droplet.facts().current or "") == revisions["v2"]
    comes_back(droplet, revisions["v2"])


def test_an_app_that_answers_to_one_host_name_is_asked_for_that(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    cause = refused(droplet, revisions["v9-mounted"], health={"timeout": 5})
    assert "/health; see traffic.public_url and validation.statuses" in cause
    running(droplet, revisions["v9-mounted"], traffic={"public_url": "http://www.example.com"})


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


def test_what_was_confirmed_outlives_other_settings_of_the_same_release_and_is_restored_as_it_was(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    release = running(droplet, revisions["v1"], environment={"GREETING": "confirmed"})
    unit, confirmed = droplet.unit_text(), droplet.facts().activated[0]
    assert (confirmed.release, confirmed.confirmed) == (release, False)
    rejected: dict[str, dict[str, Any]] = {
        "environment": {"GREETING": "rejected"},
        "server": {"workers": 2, "keep_releases": 2},
    }
    assert running(droplet, revisions["v1"], revisions["v1"], **rejected) == release
    assert droplet.unit_text() != unit
    known = [one for one in droplet.facts().activated if one.release == release]
    assert [one.confirmed for one in known] == [False, True]

    report = droplet.restore(confirmed)
    assert report.state is JobState.SUCCESS, report.lines
    assert report.started(Verb.RESTORE).pairing == confirmed.pairing
    assert droplet.unit_text() == unit
    comes_back(droplet, revisions["v1"])
    before = droplet.main_pid()

    configurations = f"/var/lib/bluegreen/{SYSTEM_NAME}/configurations/{confirmed.configuration}"
    for changed in (f"{ROOT}/releases/{release}/app.psgi", f"{configurations}/environment"):
        droplet.machine.run(f"cp -p {changed} /root/before && echo 'EVIL=1' >>{changed}")
        cause = failure_cause(droplet.restore(confirmed).lines)
        droplet.machine.run(f"mv /root/before {changed}")
        assert "app.psgi: it is not as it was built" in cause or "was changed on this droplet" in cause
        assert droplet.main_pid() == before


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_any_moment_and_run_again(
    seed: int, droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    chance = random.Random(seed)  # noqa: S311
    first, second = (revisions["v1"], revisions["v2"]) if seed % 2 else (revisions["v2"], revisions["v1"])
    running(droplet, first)
    droplet.machine.run(f"rm -rf {ROOT}/releases/{second}-* {ROOT}/activated/{second}-*")
    if seed % 3 == 0:
        droplet.machine.run(f"rm -rf {ROOT}/cache/*")

    def kill(unit: str) -> None:
        killer = f"sleep {chance.uniform(0, 1.2):.3f}; systemctl kill --signal=KILL {unit}.service"
        droplet.machine.run(killer, check=False)
        droplet.clean(unit)

    kill(droplet.start_build(second))
    built = droplet.must_build(second)
    droplet.send(built)
    kill(droplet.start(deploy_unit(APP, second), droplet.program(built)))
    current = droplet.facts().current
    assert revision_of(current or "") in (first, second)
    assert droplet.machine.run(f"cat {ROOT}/releases/{current}/REVISION").stdout.strip() in (first, second)
    report = droplet.install(built)
    assert report.state is JobState.SUCCESS, report.lines
    assert "partial" not in droplet.machine.run(f"ls {ROOT} {ROOT}/releases").stdout


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
