"""What an app runs with arrives byte for byte in its service, by systemd itself, and is in no other place."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.configuration import configuration_digest
from agent.protocol import Configuration, ConfigurationFile
from agent.release_name import revision_of
from bluegreen.release.jobs import JobState
from bluegreen.release.release import deploy_program, deploy_unit, failure_cause
from bluegreen.release.service_unit import ServiceUnit
from bluegreen.settings.delivered_files import DeliveredFile
from tests.sandbox.app_droplet import APP, BUILD_USER, ROOT, SALT, SYSTEM_NAME, AppDroplet, Built, Ended
from tests.sandbox.releases import Commit
from tests.unit.nasty_values import NASTY_VALUES
from tests.waiting import until

pytestmark = pytest.mark.sandbox

NASTY = {f"NASTY_{number}": value for number, value in enumerate(NASTY_VALUES)}
SECRET, IN_FILE = "hunter22-in-a-variable", "hunter33-in-a-file"
FILES = {"db.yaml": (f"password: {IN_FILE}\n".encode(), 0o640), "keys/tls.pem": (b"\x00\xff\r\n", 0o440)}
CONFIGURATIONS = f"/var/lib/bluegreen/{SYSTEM_NAME}/configurations"
# Words of a command. A unit's line has no control characters in it.
WORDS = [value for value in NASTY_VALUES if value.isprintable() and value]
WAITS = "import sys, time; time.sleep(600)"


def configuration(variables: dict[str, str]) -> Configuration:
    files: list[ConfigurationFile] = [
        {"path": path, "content": base64.b64encode(data).decode(), "mode": mode}
        for path, (data, mode) in FILES.items()
    ]
    digest = configuration_digest(SALT, variables, files)
    return {"digest": digest, "salt": SALT, "variables": variables, "files": files}


def install(droplet: AppDroplet, built: Built, wanted: Configuration) -> Ended:
    """Install a release with a configuration, and leave no job behind."""
    droplet.send(built)
    files = [
        DeliveredFile.model_validate({"path": path, "content_from": {"connection": path}}) for path in FILES
    ]
    app = droplet.app().model_copy(update={"files": files})
    unit = deploy_unit(APP, revision_of(built.release))
    address = droplet.machine.private_address
    program = deploy_program(app, built.release, built.digest, built.artifact, wanted, address, "")
    report = droplet.finish(droplet.start(unit, program))
    droplet.clean(unit)
    return report


@pytest.fixture
def built(droplet: AppDroplet, revisions: dict[str, str]) -> Built:
    return droplet.must_build(revisions["v1"])


def process_file(droplet: AppDroplet, pid: int, name: str) -> list[bytes]:
    """Return the strings in a file of a process in /proc."""
    shown = droplet.machine.run(["base64", "--wrap=0", f"/proc/{pid}/{name}"]).stdout
    return base64.b64decode(shown).split(b"\0")[:-1]


# Starman writes its title over what /proc shows of its environment.
WRITES_ENVIRONMENT = """BEGIN {
    open my $file, '>', '/var/lib/app-my_perl_app/environment' or die $!;
    print $file map { "$_=$ENV{$_}\\0" } sort keys %ENV;
    close $file or die $!;
}
"""


def test_every_value_arrives_byte_for_byte_in_the_service(droplet: AppDroplet, commit: Commit) -> None:
    def writes(clone: Path) -> None:
        app = clone / "app.psgi"
        app.write_text(f"{WRITES_ENVIRONMENT}{app.read_text()}")

    report = install(droplet, droplet.must_build(commit("writes", writes)), configuration(NASTY))
    assert report.state is JobState.SUCCESS, report.lines
    file = f"/var/lib/{SYSTEM_NAME}/environment"
    shown = base64.b64decode(droplet.machine.run(["base64", "--wrap=0", file]).stdout)
    droplet.machine.run(["rm", file])
    found = dict(one.decode().split("=", 1) for one in shown.split(b"\0")[:-1])
    assert {name: found.get(name) for name in NASTY} == NASTY


def test_delivered_files_arrive_with_their_modes_and_the_app_may_read_them(
    droplet: AppDroplet, built: Built
) -> None:
    report = install(droplet, built, configuration({}))
    assert report.state is JobState.SUCCESS, report.lines
    seen = f"/proc/{droplet.main_pid()}/root/etc/{SYSTEM_NAME}"
    for path, (data, mode) in FILES.items():
        shown = droplet.machine.run(["base64", "--wrap=0", f"{seen}/{path}"]).stdout
        assert base64.b64decode(shown) == data
        about = droplet.machine.run(["stat", "-c", "%a %U %G", f"{seen}/{path}"]).stdout
        assert about == f"{mode:o} root {SYSTEM_NAME}\n"
        reads = f"setpriv --reuid={SYSTEM_NAME} --regid={SYSTEM_NAME} --clear-groups cat {path} >/dev/null"
        droplet.machine.run(f"cd {seen} && {reads}")


def test_secrets_are_in_no_place_that_another_user_can_read(droplet: AppDroplet, built: Built) -> None:
    report = install(droplet, built, configuration({"DB_PASSWORD": SECRET}))
    assert report.state is JobState.SUCCESS, report.lines
    # The journal keeps the command lines of those who log in.
    search = "grep -rlF -f - / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev 2>/dev/null"
    secrets = f"{SECRET}\n{IN_FILE}\n"

    def found_as(user: str) -> list[str]:
        as_user = ["runuser", "-u", user, "--", "sh", "-c", search]
        return droplet.machine.run(as_user, text=secrets, check=False).stdout.split()

    assert found_as(BUILD_USER) == []
    kept = found_as("root")
    assert kept
    assert all(path.startswith(f"{CONFIGURATIONS}/") for path in kept), kept
    assert SECRET not in droplet.machine.run("ps axww -o args; journalctl --no-pager --all").stdout


def test_a_value_that_a_release_prints_is_hidden(droplet: AppDroplet, commit: Commit) -> None:
    def prints(clone: Path) -> None:
        (clone / "app.psgi").write_text('die "no $ENV{DB_PASSWORD} here\\n"')

    built = droplet.must_build(commit("prints", prints))
    report = install(droplet, built, configuration({"DB_PASSWORD": SECRET}))
    assert failure_cause(report.lines) == "the app does not load: no [DB_PASSWORD] here"


@pytest.fixture
def another_unit(droplet: AppDroplet) -> Iterator[str]:
    """The name of a unit that the app's own has nothing to do with."""
    name = "words.service"
    yield name
    droplet.machine.run(f"systemctl stop {name}; rm -f /etc/systemd/system/{name}", check=False)


def test_every_word_of_a_command_arrives_as_it_is(
    droplet: AppDroplet, built: Built, another_unit: str
) -> None:
    wanted = configuration({})
    assert install(droplet, built, wanted).state is JobState.SUCCESS
    command = ["/usr/bin/python3", "-c", WAITS, *WORDS]
    unit = ServiceUnit(
        system_name=SYSTEM_NAME,
        release=built.release,
        configuration=wanted["digest"],
        directory=f"{ROOT}/releases/{built.release}",
        environment={"GREETING": 'a "b" 100% $c\\'},
        command=command,
        stop_signal="SIGKILL",
        stop_timeout=5,
        memory_max=None,
        delivers_files=True,
    )
    droplet.machine.run(["tee", f"/etc/systemd/system/{another_unit}"], text=unit.text)
    droplet.machine.run(f"systemctl daemon-reload && systemctl start {another_unit}")

    def main_pid() -> int:
        show = ["systemctl", "show", "--property=MainPID", "--value", another_unit]
        pid = int(droplet.machine.run(show).stdout)
        # Before it is the program, the process is one of systemd's own.
        name = droplet.machine.run(["cat", f"/proc/{pid}/comm"], check=False).stdout
        return pid if name.startswith("python3") else 0

    pid = until(main_pid, "it runs")
    assert [word.decode() for word in process_file(droplet, pid, "cmdline")] == command
    assert b'GREETING=a "b" 100% $c\\' in process_file(droplet, pid, "environ")
