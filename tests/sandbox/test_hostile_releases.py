"""Releases whose authors want more from a droplet than to run there: what they try leads nowhere."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agent.protocol import Verb
from bluegreen.release.cage import CAGE
from bluegreen.release.jobs import JobState
from bluegreen.release.lifecycle_commands import command_program, hook_unit
from bluegreen.release.release import deploy_unit, failure_cause
from bluegreen.settings.hooks import Hook, Moment
from tests.facts_call import facts_command, facts_input
from tests.sandbox.app_droplet import APP, BUILD_USER, ROOT, SYSTEM_NAME, AppDroplet
from tests.sandbox.releases import Commit, comes_back, refused, running
from tests.waiting import until

pytestmark = pytest.mark.sandbox

TINY = "local/lib/perl5/Try/Tiny.pm"


def in_cpanfile(program: str) -> Callable[[Path], None]:
    """Run a program whenever dependencies are installed; a cpanfile is Perl."""

    def change(clone: Path) -> None:
        cpanfile = clone / "cpanfile"
        cpanfile.write_text(f"{program}\n{cpanfile.read_text()}")

    return change


def in_app(program: str) -> Callable[[Path], None]:
    """Run a program whenever the app is loaded."""

    def change(clone: Path) -> None:
        app = clone / "app.psgi"
        app.write_text(f"{program}\n{app.read_text()}")

    return change


def shell(script: str) -> str:
    """Run a shell script in a Perl program, and print what it says."""
    return f"open my $sh, '-|', 'sh', '-c', <<'END' or die; print STDERR <$sh>;\n{script}\nEND\n"


def test_a_link_in_place_of_the_dependencies_is_not_followed(droplet: AppDroplet, commit: Commit) -> None:
    link = 'END { rename "local", ".x"; symlink "/etc", "local" }'
    assert (
        refused(droplet, commit("link", in_cpanfile(link))) == "the release is refused: local is no directory"
    )
    assert droplet.machine.run(f"find {ROOT} -samefile /etc/passwd -o -samefile /etc/shadow").stdout == ""


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ('symlink "/etc/shadow", "local/x"', "x is a link out of it, to /etc/shadow"),
        ('symlink "../../../../../../etc", "local/x"', "x is a link out of it, to ../../../../../../etc"),
        ('symlink ".", "local/x"; symlink "x/../../y", "local/y"', "y is a link out of it, to x/../../y"),
        ("use POSIX; POSIX::mkfifo('local/x', 0644)", "x is a device, a pipe or a socket"),
        ('link "cpanfile", "local/x"', "x is a hard link, and its other name is elsewhere"),
    ],
)
def test_what_root_must_not_take_over_is_named_and_refused(
    droplet: AppDroplet, commit: Commit, made: str, problem: str
) -> None:
    cause = refused(droplet, commit("made", in_cpanfile(f"END {{ {made} }}")))
    assert cause == f"the release is refused: {problem}"


# Goes on after the build, and puts links where root is about to write.
STAYS = """
use POSIX ();
unless (fork) {
    POSIX::setsid(); $SIG{TERM} = $SIG{HUP} = "IGNORE"; fork and POSIX::_exit(0);
    close STDIN; close STDOUT; close STDERR;
    chmod 0777, "."; my $end = time + 30;
    while (time < $end) {
        for my $there (".", "../tree") {
            symlink "/etc/ld.so.preload", "$there/REVISION";
            rename "$there/.bluegreen", "$there/.old" and mkdir "$there/.bluegreen";
            symlink "/etc/ld.so.preload", "$there/.bluegreen/start.new";
            symlink "/etc/ld.so.preload", "$there/.bluegreen/revision.psgi";
        }
    }
    POSIX::_exit(0);
}
"""


def test_nothing_that_a_build_starts_outlives_it(droplet: AppDroplet, commit: Commit) -> None:
    revision = commit("stays", in_cpanfile(STAYS))
    try:
        running(droplet, revision)
        assert droplet.machine.run(f"pgrep -l -u {BUILD_USER}", check=False).stdout == ""
        assert droplet.machine.run("ls /etc/ld.so.preload", check=False).stdout == ""
        owners = droplet.machine.run(f"find {ROOT}/current/ -not -user root -o -perm /022 -type f").stdout
        assert owners == ""
    finally:
        droplet.machine.run(f"pkill -KILL -u {BUILD_USER}; rm -f /etc/ld.so.preload", check=False)


def test_a_branch_with_another_tarball_does_not_poison_the_dependencies_of_main(
    droplet: AppDroplet, revisions: dict[str, str], commit: Commit
) -> None:
    def repack(clone: Path) -> None:
        tarball = next(clone.glob("vendor/cache/**/Try-Tiny-*.tar.gz"))
        with tarfile.open(tarball) as archive:
            archive.extractall(clone.parent, filter="data")
        [directory] = clone.parent.glob("Try-Tiny-*")
        module = directory / "lib/Try/Tiny.pm"
        module.chmod(0o644)
        module.write_text(module.read_text().replace("use strict;", "use strict; print qq(POISONED\\n);", 1))
        subprocess.run(["tar", "-czf", tarball, "-C", clone.parent, directory.name], check=True)

    droplet.machine.run(f"rm -rf {ROOT}/cache/* {ROOT}/releases/{revisions['v1']}-*")
    running(droplet, commit("repacked", repack))
    assert "POISONED" in droplet.machine.run(f"cat {ROOT}/current/{TINY}").stdout
    droplet.forget_artifacts()
    running(droplet, revisions["v1"])
    assert "POISONED" not in droplet.machine.run(f"cat {ROOT}/current/{TINY}").stdout


def test_dependencies_that_are_committed_are_used_where_there_is_no_cpanfile(
    droplet: AppDroplet, commit: Commit
) -> None:
    def vendored(clone: Path) -> None:
        (clone / "cpanfile").unlink()
        (clone / "cpanfile.snapshot").unlink()
        module = clone / TINY
        module.parent.mkdir(parents=True)
        [tarball] = clone.glob("vendor/cache/**/Try-Tiny-*.tar.gz")
        with tarfile.open(tarball) as archive:
            [source] = [one for one in archive.getnames() if one.endswith("lib/Try/Tiny.pm")]
            opened = archive.extractfile(source)
            assert opened is not None
            module.write_bytes(opened.read())

    running(droplet, commit("committed-local", vendored))


# What code of a repository must not be able to do, whatever it is run for.
FORBIDDEN = (
    "cat /proc/1/cmdline",
    "cat /proc/meminfo",
    "cat /etc/shadow",
    "ls /run/bluegreen",
    "touch /opt/x",
    "touch /run/open/x",
    "touch /mnt/open/x",
    "touch /var/lib/x",
    f"touch {ROOT}/cache/x",
    f"ls {ROOT}/incoming",
    f"ls {ROOT}",
    f"ls {ROOT}/activated",
    f"cat {ROOT}/build.partial.d/tree/app.psgi",
    f"ls /var/lib/bluegreen/{SYSTEM_NAME}/configurations",
    "unshare --user true",
    "mount -t tmpfs none /tmp",
    "cp /bin/true /tmp/x && chmod 4755 /tmp/x",
    "perl -MSocket -e 'socket S, 16, 3, 0 or exit 1'",
    "perl -e 'use POSIX; POSIX::nice(-5) or exit 1'",
)
TRIES = "\n".join(
    [
        "exec 3>&1 >/dev/null 2>&1",
        *(f"({one}) && echo 'CAN {one.split()[0]}' >&3" for one in FORBIDDEN),
        "echo TRIED >&3",
    ]
)


def test_build_load_and_hooks_are_in_one_cage(droplet: AppDroplet, commit: Commit) -> None:
    droplet.machine.run(["install", "-d", "-m", "777", "/run/open", "/mnt/open"])

    def change(clone: Path) -> None:
        in_cpanfile(shell(TRIES))(clone)
        in_app(shell(TRIES))(clone)

    report = droplet.deploy(commit("tries", change))
    assert report.state is JobState.SUCCESS, report.lines
    assert report.lines.count("TRIED") == 2
    assert [line for line in report.lines if line.startswith("CAN")] == []
    # Longer than a word of a command may be.
    droplet.machine.run("cat >/etc/tries.sh", text=TRIES)
    for user in ("app", "build"):
        command = Hook.model_validate({"command": ["sh", "/etc/tries.sh"], "user": user})
        assert hook(droplet, command) == ("TRIED",)


# What one app must not read of another one, and what its own user reads there.
PRIVATE = (
    f"{ROOT}/current/app.psgi",
    f"{ROOT}/current/{TINY}",
    f"{ROOT}/releases",
    f"/var/lib/{SYSTEM_NAME}",
)


def test_one_app_finds_nothing_of_another_one_on_the_same_droplet(
    droplet: AppDroplet, revisions: dict[str, str]
) -> None:
    running(droplet, revisions["v1"])
    reads = {path: f"tar -cf /dev/null {path} 2>&1" for path in (*PRIVATE, f"{ROOT}/cache")}

    def can_read(user: str) -> list[str]:
        found = {path: ["runuser", "-u", user, "--", "sh", "-c", command] for path, command in reads.items()}
        return [
            path for path, words in found.items() if not droplet.machine.run(words, check=False).returncode
        ]

    assert can_read(SYSTEM_NAME) == list(PRIVATE)
    assert can_read(BUILD_USER) == [f"{ROOT}/cache"]
    others = ("app-other", "build-other")
    for user in others:
        droplet.machine.run(["useradd", "--system", "--user-group", user])
    try:
        assert [can_read(user) for user in others] == [[], []]
    finally:
        for user in others:
            droplet.machine.run(["userdel", user])


# Asks for a page of memory that is both writable and executable, by mmap as x86_64 calls it.
NEEDS_EXECUTABLE_MEMORY = """BEGIN {
    my $page = syscall 9, 0, 4096, 7, 34, -1, 0;
    die "no memory is writable and executable" if $page == -1;
}"""


def test_an_app_that_needs_more_than_the_cage_can_be_deployed(droplet: AppDroplet, commit: Commit) -> None:
    revision = commit("needs-more", in_app(NEEDS_EXECUTABLE_MEMORY))
    assert "no memory is writable and executable" in refused(droplet, revision)
    directory = f"/etc/systemd/system/{SYSTEM_NAME}.service.d"
    droplet.machine.run(["install", "-d", directory])
    droplet.machine.run(
        ["tee", f"{directory}/local.conf"], text="[Service]\nMemoryDenyWriteExecute=no\nLimitCORE=0\n"
    )
    try:
        droplet.machine.run(["systemctl", "daemon-reload"])
        running(droplet, revision)
        writes = f"if touch /var/lib/{SYSTEM_NAME}/trace-of-it; then exit 9; fi"
        assert loaded(droplet, f"perl -e '{NEEDS_EXECUTABLE_MEMORY}' || exit 8\n{writes}")["status"] == 0
    finally:
        droplet.machine.run(["rm", "-r", directory])
        droplet.machine.run(["systemctl", "daemon-reload"])


def hook(droplet: AppDroplet, command: Hook) -> tuple[str, ...]:
    """Run a command as a run does, and return what it wrote."""
    unit = hook_unit(APP, Moment.BEFORE_SWITCH, 1)
    program = command_program(APP, unit, command, "", {"REF": "it's $HOME $$ ${X} %n"})
    token, about = droplet.token(), {"unit": unit, "run_id": "run-1", "timeout": 60}
    droplet.call(Verb.START_JOB, **about, token=token, program=program)
    lines = droplet.finish(unit).lines
    droplet.clean(unit)
    return lines


def test_a_hook_gets_its_words_as_they_are(droplet: AppDroplet) -> None:
    words = ["$HOME", "a b", "%n", "$$", "'"]
    shown = hook(droplet, Hook(command=["sh", "-c", 'printf "%s\\n" "$BLUEGREEN_REF" "$@"', "sh", *words]))
    assert shown == ("it's $HOME $$ ${X} %n", *words)


def test_a_release_that_talks_without_end_fills_nothing(
    droplet: AppDroplet, revisions: dict[str, str], commit: Commit
) -> None:
    running(droplet, revisions["v1"])
    built = droplet.must_build(commit("talks", in_app("BEGIN { warn 'x' x 1000 for 1 .. 100_000 }")))
    droplet.send(built)
    unit = droplet.start(deploy_unit(APP, built.release[:40]), droplet.program(built))
    report = droplet.finish(unit)
    assert report.state is JobState.SUCCESS, report.lines[-1]
    size = int(droplet.machine.run(["du", "-sb", "/run/bluegreen"]).stdout.split()[0])
    assert size < 2_000_000
    assert any("KB of this output are left out here" in line for line in report.lines)
    droplet.clean(unit)


# Prints when the service loads the app, and not when a deploy does: only services know of the journal.
TALKS_IN_THE_SERVICE = """
if ($ENV{JOURNAL_STREAM}) { print STDERR 'x' x 40_000 . "\\n" for 1 .. 20 }
sub { [ 500, [], ['bad'] ] }
"""


def test_the_last_words_of_an_app_that_is_not_healthy_are_bounded_in_bytes(
    droplet: AppDroplet, revisions: dict[str, str], commit: Commit
) -> None:
    running(droplet, revisions["v1"])

    def change(clone: Path) -> None:
        (clone / "app.psgi").write_text(TALKS_IN_THE_SERVICE)

    built = droplet.must_build(commit("last-words", change))
    droplet.send(built)
    # A release that talks without end leaves the unit nothing of what journald takes within some seconds.
    droplet.machine.run("journalctl --sync && systemctl restart systemd-journald")
    program = droplet.program(built, health={"timeout": 15})
    unit = droplet.start(deploy_unit(APP, built.release[:40]), program)
    report = droplet.finish(unit)
    assert failure_cause(report.lines).startswith(
        "the app was started but did not become healthy within 15 s"
    )
    assert any(line.startswith("xxx") and line.endswith("(40000 characters)") for line in report.lines)
    size = int(droplet.machine.run(["stat", "-c", "%s", f"/run/bluegreen/{unit}/log"]).stdout)
    assert 60_000 < size < 90_000
    droplet.clean(unit)
    comes_back(droplet, revisions["v1"])


def loaded(droplet: AppDroplet, script: str, seconds: int = 20) -> dict[str, Any]:
    """Load a release as a dry run does, and return the facts of that.

    :param script: a shell script in the place of the loader's command.
    """
    request = {
        "kind": "load",
        "app": SYSTEM_NAME,
        "unit": deploy_unit(APP, "d" * 40),
        "release": f"{'d' * 40}-{'d' * 16}",
        "command": ["/bin/sh", "-c", script],
        "properties": [*CAGE, "WorkingDirectory=/", f"EnvironmentFile=-/etc/default/{SYSTEM_NAME}"],
        "timeout": 60.0,
        "seconds": seconds,
    }
    said = droplet.machine.run(facts_command(), text=facts_input(request)).stdout
    return cast("dict[str, Any]", json.loads(said)["facts"])


PLACES = ("/mnt/open", "/srv", "/run/open", "/tmp", "/var/tmp", "/dev/shm", f"/var/lib/{SYSTEM_NAME}")


def test_an_app_that_a_dry_run_loads_leaves_nothing_and_can_do_no_more_than_the_service(
    droplet: AppDroplet,
) -> None:
    droplet.machine.run(["install", "-d", "-m", "777", "/run/open", "/mnt/open"])
    writes = f"for place in {' '.join(PLACES)}; do touch $place/trace-of-it; done\n"
    said = loaded(droplet, f"{writes}({TRIES}) | grep CAN && exit 9\nsleep 98765.4 >/dev/null 2>&1 & exit 0")
    assert said == {"status": 0, "cause": "", "read_only": False}
    traces = " ".join(f"{place}/trace-of-it" for place in PLACES)
    assert (
        droplet.machine.run(f"ls {traces} 2>/dev/null; pgrep -f '[s]leep 98765.4'", check=False).stdout == ""
    )


def test_an_app_that_takes_too_long_to_load_in_a_dry_run_is_ended(droplet: AppDroplet) -> None:
    assert loaded(droplet, "sleep 87654.3", seconds=2)["status"] == 124
    is_gone = "! pgrep -f '[s]leep 87654.3'"
    until(lambda: droplet.machine.run(is_gone, check=False).returncode == 0, "it is ended")


@pytest.mark.parametrize("loud", ["yes >&2", "cat /dev/zero"])
def test_an_app_that_talks_without_an_end_while_a_dry_run_loads_it_is_ended(
    droplet: AppDroplet, loud: str
) -> None:
    said = loaded(droplet, loud)
    assert said["status"] == 124
    assert said["cause"] == "more than 1024 KB of output, of which the rest was not read"


def test_a_long_line_of_an_app_that_a_dry_run_loads_is_cut(droplet: AppDroplet) -> None:
    said = loaded(droplet, "head -c 100000 /dev/zero | tr '\\0' x; echo; exit 3")
    assert (said["status"], len(said["cause"])) == (3, 300)


def test_an_app_that_cannot_be_caged_is_not_loaded(droplet: AppDroplet) -> None:
    droplet.machine.run('mount --bind /bin/false "$(command -v systemd-run)"')
    try:
        assert loaded(droplet, "exit 0")["status"] is None
    finally:
        droplet.machine.run('umount "$(command -v systemd-run)"')


def test_a_dry_run_names_no_secret(droplet: AppDroplet) -> None:
    droplet.machine.run(["tee", f"/etc/default/{SYSTEM_NAME}"], text='DB_PASSWORD="hunter2"\n')
    try:
        said = loaded(droplet, "echo \"connect('password=$DB_PASSWORD') failed at lib/Db.pm line 3\"; exit 2")
    finally:
        droplet.machine.run(["rm", f"/etc/default/{SYSTEM_NAME}"])
    assert (said["status"], said["cause"]) == (
        2,
        "connect('password=[DB_PASSWORD]') failed at lib/Db.pm line 3",
    )
