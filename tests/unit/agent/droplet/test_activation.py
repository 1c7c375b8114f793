"""The service changes hands: to a healthy release, or back to the one that a rollback goes to."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.droplet import activation
from agent.droplet.activation import last_words
from agent.droplet.configuration import digest_on_disk, install_configuration
from agent.droplet.health import Service
from agent.protocol import Code
from agent.release_name import revision_of
from tests.unit.agent.droplet.activating import EARLIER, SAID, ActivatingDroplet
from tests.unit.agent.droplet.local_droplet import ASKED, SERVICE, configuration
from tests.waiting import until


@pytest.fixture
def droplet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActivatingDroplet:
    return ActivatingDroplet(tmp_path, monkeypatch)


@pytest.mark.usefixtures("healthy")
def test_a_healthy_release_runs_and_its_unit_is_installed_and_enabled(droplet: ActivatingDroplet) -> None:
    answer = droplet.activate()
    assert droplet.read("running") == droplet.unit.read_text() == f"unit of {droplet.new}\n"
    assert droplet.unit.stat().st_mode & 0o777 == 0o644
    assert droplet.current == droplet.new
    assert f"enable --quiet {SERVICE}" in droplet.told
    recorded = droplet.activated.all()[0]
    assert recorded.pairing == droplet.pairing(droplet.new, SAID)
    assert recorded.service == ASKED
    assert answer == {
        "release": droplet.new,
        "configuration": SAID["digest"],
        "pairing": hashlib.sha256(droplet.unit.read_bytes()).hexdigest(),
    }
    [record] = (droplet.app.root / "activated").glob(f"{droplet.new}.*")
    assert record.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("healthy")
def test_the_app_is_asked_for_the_release_s_own_revision(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def problem_of(service: Service) -> str:
        asked.append(service.revision)
        return ""

    monkeypatch.setattr(activation, "problem_of", problem_of)
    droplet.activate()
    assert asked == [revision_of(droplet.new)]


@pytest.mark.usefixtures("healthy")
def test_systemd_reads_its_units_again_only_if_it_has_to(droplet: ActivatingDroplet) -> None:
    droplet.activate()
    assert "daemon-reload" in droplet.told
    (droplet.path / "said").unlink()
    droplet.activate()
    assert "daemon-reload" not in droplet.told
    # A run before this one was killed before systemd has read the unit.
    (droplet.path / "loaded").write_text("another unit\n")
    droplet.activate()
    assert "daemon-reload" in droplet.told
    assert droplet.read("running") == f"unit of {droplet.new}\n"


@pytest.mark.usefixtures("healthy")
def test_a_unit_that_systemd_does_not_read_runs_no_release(droplet: ActivatingDroplet) -> None:
    droplet.activate(release=droplet.old)
    (droplet.path / "refused").write_text("Access denied\n")
    assert str(droplet.refusal()).startswith(
        f"cannot load {SERVICE}: Access denied (nor does this droplet go"
    )
    assert droplet.read("running") == f"unit of {droplet.old}\n"
    assert droplet.current == droplet.old


@pytest.mark.usefixtures("healthy")
def test_a_unit_that_cannot_be_written_leaves_what_runs_alone(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as context:
        context.setattr(activation, "write_atomically", refuses)
        refused = droplet.refusal()
    assert str(refused) == f"cannot install the unit {SERVICE}: Operation not permitted"
    assert [line for line in droplet.told if not line.startswith("list-units")] == []


@pytest.mark.usefixtures("unhealthy")
@pytest.mark.parametrize(("kept", "back"), [("", "b"), ("c", "c"), ("e", "b")])
def test_a_release_that_is_not_healthy_gives_way_to_what_a_rollback_goes_to_or_to_the_last_one(
    droplet: ActivatingDroplet, kept: str, back: str
) -> None:
    digests = {"c": droplet.pairing(droplet.older).digest, "e": "e" * 64, "": ""}
    refused = droplet.refusal(kept=digests[kept])
    assert refused.code is Code.UNHEALTHY
    assert str(refused) == (
        "the app was started but did not become healthy within 1 s: it answers 500 "
        f"(this droplet runs {back * 12} again)"
    )
    assert revision_of(droplet.current or "") == back * 40
    assert droplet.read("running") == droplet.unit.read_text() == f"unit of {droplet.current}\n"
    assert droplet.new not in [one.pairing.release for one in droplet.activated.all()]


@pytest.mark.usefixtures("unhealthy")
def test_a_configuration_that_is_not_healthy_gives_way_to_the_release_s_earlier_one(
    droplet: ActivatingDroplet,
) -> None:
    droplet.was_healthy(droplet.pairing(droplet.new), -1)
    assert "(this droplet runs aaaaaaaaaaaa again)" in str(droplet.refusal(unit_text="with another one\n"))
    assert droplet.read("running") == f"unit of {droplet.new}\n"


def forget_configuration(droplet: ActivatingDroplet) -> None:
    (droplet.app.configurations / EARLIER["digest"]).rename(droplet.app.configurations / ("0" * 64))


def forget_releases(droplet: ActivatingDroplet) -> None:
    for name in (droplet.old, droplet.older):
        (droplet.app.releases / name).rename(droplet.app.releases / f"{name}.partial.x")


def break_records(droplet: ActivatingDroplet) -> None:
    for release, text in (
        (droplet.old, ""),
        (droplet.older, '{"configuration": "../../..", "unit_text": 1}'),
    ):
        [record] = (droplet.app.root / "activated").glob(f"{release}.*")
        record.write_text(text)


def let_others_write_records(droplet: ActivatingDroplet) -> None:
    for record in (droplet.app.root / "activated").iterdir():
        record.chmod(0o666)


def change_recorded_units(droplet: ActivatingDroplet) -> None:
    for record in (droplet.app.root / "activated").iterdir():
        record.write_text(record.read_text().replace("unit of", "another unit of"))


@pytest.mark.usefixtures("unhealthy")
@pytest.mark.parametrize(
    "forget",
    [
        forget_configuration,
        forget_releases,
        break_records,
        let_others_write_records,
        change_recorded_units,
    ],
)
def test_a_droplet_goes_back_only_to_what_is_there_as_a_whole(
    droplet: ActivatingDroplet, forget: Callable[[ActivatingDroplet], None]
) -> None:
    forget(droplet)
    assert str(droplet.refusal()).endswith("within 1 s: it answers 500")
    assert (droplet.current, droplet.read("running")) == (None, None)
    assert droplet.told[-1] == f"stop {SERVICE}"


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"release": f"{'e' * 40}-{'e' * 16}"}, f"the release {'e' * 40}-{'e' * 16} is not on this droplet"),
        ({"configuration": "e" * 64}, f"the configuration {'e' * 16} is not on this droplet"),
    ],
)
def test_what_is_not_on_the_droplet_is_not_activated(
    droplet: ActivatingDroplet, changes: dict[str, str], problem: str
) -> None:
    assert str(droplet.refusal(**changes)) == problem
    assert (droplet.told, droplet.unit.exists()) == ([], False)


@pytest.mark.usefixtures("healthy")
def test_nothing_is_activated_on_a_droplet_that_another_run_has_claimed(droplet: ActivatingDroplet) -> None:
    droplet.claimed_by(8)
    assert str(droplet.refusal()) == "another run has claimed this droplet; nothing was activated"
    assert (droplet.current, droplet.unit.exists()) == (None, False)


def test_what_another_run_has_claimed_meanwhile_is_left_alone(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claimed_meanwhile(_: object) -> str:
        droplet.claimed_by(8)
        return "it answers 500"

    monkeypatch.setattr(activation, "problem_of", claimed_meanwhile)
    assert str(droplet.refusal()).endswith(
        "it answers 500 (another run has claimed this droplet, so nothing was done about that)"
    )
    assert droplet.current == droplet.new


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("Job for app failed.\nSee its journal.", "See its journal."),
        ("write: No space left on device", "No space left on the disk of {root}"),
    ],
)
def test_a_service_that_cannot_be_started_says_why_and_the_last_release_runs_again(
    droplet: ActivatingDroplet, output: str, cause: str
) -> None:
    (droplet.path / "unstartable").write_text(f"{droplet.new}\n{output}\n")
    why = f"cannot start {SERVICE}: {cause.format(root=droplet.app.root)}"
    assert str(droplet.refusal()) == f"{why} (this droplet runs {'b' * 12} again)"
    assert droplet.read("running") == f"unit of {droplet.old}\n"
    assert droplet.current == droplet.old


@pytest.mark.usefixtures("healthy")
def test_what_is_not_needed_any_more_is_removed(droplet: ActivatingDroplet) -> None:
    rejected = [droplet.put(digit * 40) for digit in "123"]
    places = [droplet.app.releases / name for name in rejected]

    def last_is_latest() -> bool:
        places[-1].chmod(0o755)
        return places[-1].stat().st_ctime > max(place.stat().st_ctime for place in places[:-1])

    until(last_is_latest, "the clock goes on")
    unused = install_configuration(droplet.app, configuration({"A": "unused"}))
    gone = droplet.pairing(f"{'f' * 40}-{'f' * 16}")
    droplet.was_healthy(gone)
    droplet.activate(keep=1, kept=droplet.pairing(droplet.older).digest)
    names = {path.name for path in droplet.app.releases.iterdir()}
    assert names == {droplet.new, droplet.older, rejected[-1]}
    assert droplet.known() == {droplet.pairing(droplet.new, SAID), droplet.pairing(droplet.older)}
    records = (droplet.app.root / "activated").glob("*.*")
    assert {path.name.partition(".")[0] for path in records} == {droplet.new, droplet.older}
    assert {path.name for path in droplet.app.configurations.iterdir()} == {SAID["digest"], EARLIER["digest"]}
    assert not unused.exists()


@pytest.mark.usefixtures("healthy")
def test_a_configuration_goes_with_the_last_release_that_names_it(droplet: ActivatingDroplet) -> None:
    droplet.activate(keep=1)
    assert {path.name for path in droplet.app.configurations.iterdir()} == {SAID["digest"]}


@pytest.mark.usefixtures("healthy")
def test_what_was_confirmed_outlives_a_deploy_of_the_same_release_that_was_rejected(
    droplet: ActivatingDroplet,
) -> None:
    """The proxies know the confirmed pairing; the run that confirmed it may have died right then."""
    good = droplet.pairing(droplet.old)
    for number in range(3):
        rejected = configuration({"A": f"rejected {number}"})
        install_configuration(droplet.app, rejected)
        droplet.activate(
            release=droplet.old,
            configuration=rejected["digest"],
            unit_text=f"rejected unit {number}\n",
            kept=good.digest,
            keep=1,
        )
    found = droplet.activated.find(good.digest)
    assert found is not None
    assert (found.pairing, found.confirmed) == (good, True)
    assert digest_on_disk(droplet.app.configurations / good.configuration) == good.configuration
    # Of those that were rejected, only the last one is left.
    assert {one.unit_text for one in droplet.known()} == {good.unit_text, "rejected unit 2\n"}
    assert len(list(droplet.app.configurations.iterdir())) == 2


@pytest.mark.usefixtures("healthy")
def test_releases_that_were_confirmed_are_not_pushed_out_by_those_that_were_rejected(
    droplet: ActivatingDroplet,
) -> None:
    confirmed = droplet.pairing(droplet.older)
    droplet.activated.confirm(confirmed.digest)
    for digit in "123":
        droplet.activate(release=droplet.put(digit * 40), keep=2, kept=droplet.pairing(droplet.old).digest)
    assert {revision_of(one.release)[0] for one in droplet.known()} == {"b", "c", "2", "3"}


@pytest.mark.usefixtures("healthy")
def test_what_a_rollback_goes_to_by_default_stays_whatever_was_confirmed_later_by_the_clock(
    droplet: ActivatingDroplet,
) -> None:
    for release in (droplet.old, droplet.older):
        droplet.activated.confirm(droplet.pairing(release).digest)
    droplet.activate(keep=1, kept=droplet.pairing(droplet.older).digest)
    assert {one.release for one in droplet.known()} == {droplet.new, droplet.old, droplet.older}


@pytest.mark.usefixtures("healthy")
def test_what_the_service_was_started_with_is_known_unless_that_is_not_certain(
    droplet: ActivatingDroplet, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert droplet.activated.started() is None
    droplet.activate()
    assert droplet.activated.started() == droplet.pairing(droplet.new, SAID).digest
    with monkeypatch.context() as context:
        # As if the job were killed between the new unit and the restart.
        context.setattr(activation.Activation, "_start", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            droplet.activate(release=droplet.old, configuration=EARLIER["digest"])
    assert droplet.activated.started() is None
    droplet.activate()
    droplet.unit.write_text("edited by hand\n")
    assert droplet.activated.started() is None


@pytest.mark.parametrize("ends", ["", "exit 1"])
def test_an_app_s_last_words_are_bounded_in_bytes(
    droplet: ActivatingDroplet, ends: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    droplet.program("journalctl", f"#!/bin/bash\nhead -c 50000000 /dev/zero | tr '\\0' x\n{ends}\n")
    last_words("app.service")
    assert capfdbinary.readouterr() == (b"x" * 65536 + b"\n", b"")


def test_an_app_s_last_words_are_shown_as_they_are(
    droplet: ActivatingDroplet, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    droplet.program("journalctl", "#!/bin/sh\necho one; echo two\n")
    last_words("app.service")
    assert capfdbinary.readouterr().out == b"one\ntwo\n"


def test_an_app_s_last_words_are_read_once_journald_has_them(
    droplet: ActivatingDroplet, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    synced = droplet.path / "synced"
    droplet.program("journalctl", f"#!/bin/sh\ncase $1 in --sync) touch {synced} ;; *) ls {synced} ;; esac\n")
    last_words("app.service")
    assert capfdbinary.readouterr().out == f"{synced}\n".encode()
