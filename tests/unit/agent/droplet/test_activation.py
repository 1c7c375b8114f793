"""The service changes hands: to a healthy release, or back to the one that a rollback goes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import activation
from agent.droplet.activation import Activation, last_words
from agent.protocol import AgentError, Code, Verb
from bluegreen.release.release import deploy_program
from tests.unit.a_release import RELEASE

NAME = "app-my_perl_app"
NEW, OLD, OLDER = RELEASE.revision, "b" * 40, "c" * 40

SYSTEMCTL = """#!/bin/bash
echo "$@" >>"$SAID"
case "$1 $2" in
    "show --property=NeedDaemonReload") [ "${RELOAD:-no}" = no ] && echo no || echo yes ;;
    "is-enabled --quiet") exit 1 ;;
    "daemon-reload ") [ "${RELOAD:-no}" != refused ] || { echo "Access denied"; exit 1; } ;;
    "restart "*) echo "$RESTARTS"; [ -z "$RESTARTS" ] ;;
esac
"""


class Droplet:
    """A droplet's directories, and a systemd that notes what it is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "opt" / NAME
        self.unit = path / "etc/systemd/system" / f"{NAME}.service"
        self.job = path / "run/bluegreen" / f"bluegreen-{NAME}-{NEW[:12]}"
        for place in (self.job, self.unit.parent, path / "bin", self.root / "cache", self.root / "activated"):
            place.mkdir(parents=True)
        self.program("systemctl", SYSTEMCTL)
        self.program("journalctl", "#!/bin/sh\n")
        (self.job / "token").write_text("7\n")
        for age, revision in enumerate((NEW, OLD, OLDER)):
            (self.root / "releases" / revision).mkdir(parents=True)
            if revision != NEW:
                self.was_healthy(revision, age)

    def program(self, name: str, text: str) -> None:
        (self.path / "bin" / name).write_text(text)
        (self.path / "bin" / name).chmod(0o755)

    def was_healthy(self, revision: str, age: int) -> None:
        mark = self.root / "activated" / revision
        mark.touch()
        os.utime(mark, (1000 - age, 1000 - age))

    def claimed_by(self, token: int) -> None:
        (self.path / "run/bluegreen" / f"{NAME}.token").write_text(f"{token}\n")

    def activation(self, **changes: Any) -> Activation:
        request = {**deploy_program(RELEASE)["requests"]["activate"], "timeout": 1, **changes}
        return Activation.of(Call.of(Verb.ACTIVATE), request)

    def refusal(self, **changes: Any) -> AgentError:
        with pytest.raises(AgentError) as raised:
            self.activation(**changes).run()
        return raised.value

    @property
    def current(self) -> str | None:
        link = self.root / "current"
        return str(link.readlink()).removeprefix("releases/") if link.is_symlink() else None

    @property
    def said(self) -> list[str]:
        return (self.path / "said").read_text().splitlines()


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Droplet:
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    monkeypatch.setenv("RESTARTS", "")
    return Droplet(tmp_path)


@pytest.fixture
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "problem_of", lambda _: "")


@pytest.fixture
def unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation, "problem_of", lambda _: "it answers 500")


@pytest.mark.usefixtures("healthy")
def test_a_healthy_release_is_current_and_its_unit_is_installed_and_enabled(droplet: Droplet) -> None:
    droplet.activation().run()
    assert droplet.current == NEW
    assert (droplet.root / "activated" / NEW).exists()
    assert droplet.unit.read_text() == deploy_program(RELEASE)["requests"]["activate"]["unit_text"]
    assert droplet.unit.stat().st_mode & 0o777 == 0o644
    told = [f"enable --quiet {NAME}.service", f"restart {NAME}.service"]
    assert [line for line in droplet.said if line in told] == told


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("needed", ["yes", "no"])
def test_systemd_reads_its_units_again_if_it_has_to(
    droplet: Droplet, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOAD", needed)
    droplet.activation().run()
    assert ("daemon-reload" in droplet.said) is (needed == "yes")


@pytest.mark.usefixtures("healthy")
def test_a_unit_that_systemd_does_not_read_runs_no_release(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOAD", "refused")
    assert str(droplet.refusal()) == f"cannot load {NAME}.service: Access denied"
    assert droplet.current is None


@pytest.mark.usefixtures("unhealthy")
@pytest.mark.parametrize(("kept", "back"), [("", OLD), (OLDER, OLDER), ("d" * 40, OLD)])
def test_a_release_that_is_not_healthy_gives_way_to_what_a_rollback_goes_to_or_to_the_last_one(
    droplet: Droplet, kept: str, back: str
) -> None:
    refused = droplet.refusal(kept=kept)
    assert refused.code is Code.UNHEALTHY
    assert str(refused) == (
        "the app was started but did not become healthy within 1 s: it answers 500 "
        f"(this droplet runs {back[:12]} again)"
    )
    assert droplet.current == back
    assert not (droplet.root / "activated" / NEW).exists()


@pytest.mark.usefixtures("unhealthy")
def test_a_first_release_that_is_not_healthy_leaves_nothing_running(droplet: Droplet) -> None:
    for revision in (OLD, OLDER):
        (droplet.root / "activated" / revision).unlink()
    assert str(droplet.refusal()).endswith("within 1 s: it answers 500")
    assert droplet.current is None
    assert droplet.said[-1] == f"stop {NAME}.service"


@pytest.mark.usefixtures("healthy")
def test_nothing_is_activated_on_a_droplet_that_another_run_has_claimed(droplet: Droplet) -> None:
    droplet.claimed_by(8)
    assert str(droplet.refusal()) == "another run has claimed this droplet; nothing was activated"
    assert droplet.current is None
    assert not droplet.unit.exists()


def test_what_another_run_has_claimed_meanwhile_is_left_alone(
    droplet: Droplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claimed_meanwhile(_: object) -> str:
        droplet.claimed_by(8)
        return "it answers 500"

    monkeypatch.setattr(activation, "problem_of", claimed_meanwhile)
    assert str(droplet.refusal()).endswith(
        "it answers 500 (another run has claimed this droplet, so nothing was done about that)"
    )
    assert droplet.current == NEW


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("Job for app failed.\nSee its journal.", "See its journal."),
        ("write: No space left on device", "No space left on the disk of {root}"),
    ],
)
def test_a_service_that_cannot_be_started_says_why(
    droplet: Droplet, output: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESTARTS", output)
    assert str(droplet.refusal()) == f"cannot start {NAME}.service: {cause.format(root=droplet.root)}"


def test_what_is_not_needed_any_more_is_removed(droplet: Droplet) -> None:
    releases = droplet.root / "releases"
    failed = ["1" * 40, "2" * 40, "3" * 40]
    for age, name in enumerate(failed):
        (releases / name / "lib").mkdir(parents=True)
        os.utime(releases / name, (1000 - age, 1000 - age))
    droplet.was_healthy(NEW, -1)
    for name in ("k1", "k2"):
        (droplet.root / "cache" / name).mkdir()
    droplet.activation(keep=1, kept=OLDER).prune()
    assert {path.name for path in releases.iterdir()} == {NEW, OLDER, failed[0]}
    assert {path.name for path in (droplet.root / "activated").iterdir()} == {NEW, OLDER}
    assert len(list((droplet.root / "cache").iterdir())) == 1


@pytest.mark.parametrize("ends", ["", "exit 1"])
def test_an_app_s_last_words_are_bounded_in_bytes(
    droplet: Droplet, ends: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    droplet.program("journalctl", f"#!/bin/bash\nhead -c 50000000 /dev/zero | tr '\\0' x\n{ends}\n")
    last_words("app.service")
    assert capfdbinary.readouterr() == (b"x" * 65536 + b"\n", b"")


def test_an_app_s_last_words_are_shown_as_they_are(
    droplet: Droplet, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    droplet.program("journalctl", "#!/bin/sh\necho one; echo two\n")
    last_words("app.service")
    assert capfdbinary.readouterr().out == b"one\ntwo\n"


def test_an_app_s_last_words_are_read_once_journald_has_them(
    droplet: Droplet, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    synced = droplet.path / "synced"
    droplet.program("journalctl", f"#!/bin/sh\ncase $1 in --sync) touch {synced} ;; *) ls {synced} ;; esac\n")
    last_words("app.service")
    assert capfdbinary.readouterr().out == f"{synced}\n".encode()
