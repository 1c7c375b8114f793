"""Processes and timers follow the traffic: never on two colors at once, whoever dies meanwhile."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from agent.processes import ProcessState
from bluegreen.color import Color
from bluegreen.operators.move_processes import MoveProcessesOperator
from bluegreen.operators.support.this_run import ThisRun
from tests.unit.fleets import droplet
from tests.unit.process_droplets import KilledError, ProcessDroplets
from tests.unit.runs import context
from tests.unit.statuses import status

EVERYTHING = [{"worker", "cleanup"}, {"worker"}]
NOTHING: list[set[str]] = [set(), set()]
LAYOUTS = {
    "on the other color": ({"blue-1", "blue-2"}, "blue-1"),
    "on the live color": ({"green-1", "green-2"}, "green-1"),
    "on both": ({"blue-1", "blue-2", "green-1", "green-2"}, "blue-1"),
    "half moved": ({"blue-2", "green-1"}, "green-2"),
    "nowhere": (set(), ""),
}
PENDING = {"from": "blue", "to": "green", "revision": "a" * 40, "run_id": "deploy/2", "deadline": 2000.0}
FIX = "; fix or destroy it, then run bluegreen_provision__my_perl_app"
OFF = f"{FIX}, which starts everything on green"


@pytest.fixture
def droplets(monkeypatch: pytest.MonkeyPatch) -> ProcessDroplets:
    """Droplets of an app whose traffic has just gone to green, and whose processes run on blue."""
    found = ProcessDroplets(monkeypatch)
    found.live(Color.GREEN)
    found.put(Color.BLUE, "worker", "cleanup")
    return found


def test_processes_follow_the_traffic_and_one_droplet_has_what_only_one_is_to_run(
    droplets: ProcessDroplets,
) -> None:
    move, error = droplets.move()
    assert error is None
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (NOTHING, EVERYTHING)
    assert str(move) == "cleanup and worker moved to green (2 droplets)"


def test_nothing_is_started_before_every_droplet_of_the_other_color_has_stopped(
    droplets: ProcessDroplets,
) -> None:
    droplets.move()
    assert {name for name, _ in droplets.asked[:2]} == {"blue-1", "blue-2"}
    assert droplets.both == set()


def test_what_may_overlap_is_started_before_it_is_stopped(droplets: ProcessDroplets) -> None:
    droplets.names = ("worker", "mailer")
    droplets.put(Color.BLUE, "worker", "mailer")
    assert droplets.move()[1] is None
    assert set(droplets.asked[:2]) == {("green-1", ("mailer",)), ("green-2", ("mailer",))}
    assert droplets.both == {"mailer"}
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (NOTHING, [{"worker", "mailer"}] * 2)


def test_a_run_that_finds_all_as_it_should_be_starts_no_job(droplets: ProcessDroplets) -> None:
    droplets.live(Color.BLUE)
    move, error = droplets.move()
    assert (str(move), error, droplets.asked) == ("", None, [])


def test_the_first_release_s_processes_are_started(droplets: ProcessDroplets) -> None:
    droplets.put(Color.BLUE)
    assert str(droplets.move()[0]) == "cleanup and worker started on green (2 droplets)"


@pytest.mark.parametrize("token", [7, 8], ids=["the next try of the task", "the next run"])
@pytest.mark.parametrize("names", [("worker", "cleanup"), ("worker", "cleanup", "mailer")])
def test_whenever_airflow_dies_no_name_runs_twice_and_what_follows_puts_all_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], token: int
) -> None:
    killed = 0
    for moment in range(1, 200):
        droplets = ProcessDroplets(monkeypatch)
        droplets.names = names
        droplets.live(Color.GREEN)
        droplets.put(Color.BLUE, *names)
        droplets.kill_at = moment
        try:
            droplets.move(token=7)
        except KilledError:
            killed += 1
        else:
            break
        # A task that was killed does nothing any more.
        droplets.kill_at = 0
        assert droplets.move(token=token)[1] is None
        assert droplets.on(Color.BLUE) == NOTHING
        assert droplets.on(Color.GREEN)[0] == set(names)
        assert droplets.both <= {"mailer"}
    assert killed >= 20


def test_a_rollback_after_a_death_brings_back_what_the_traffic_left(droplets: ProcessDroplets) -> None:
    droplets.kill_at = 9
    with pytest.raises(KilledError):
        droplets.move(token=7)
    droplets.kill_at = 0
    droplets.live(Color.BLUE)
    assert droplets.move(token=8)[1] is None
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (EVERYTHING, NOTHING)


def test_a_run_that_was_taken_for_dead_starts_nothing_where_a_later_run_has_made_sure_of_that(
    droplets: ProcessDroplets,
) -> None:
    def later_run() -> None:
        droplets.live(Color.BLUE)
        assert droplets.move(token=8)[1] is None

    # The first run has stopped everything on blue by then, and nothing runs on green.
    droplets.fleet = droplets.fleet.model_copy(update={"green": droplets.fleet.green[:1]})
    droplets.meanwhile["green-1"] = later_run
    _, error = droplets.move(token=7)
    assert "another run has claimed this droplet" in (error or "")
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (EVERYTHING, [set()])
    assert droplets.both == set()


def test_a_droplet_of_the_other_color_that_is_away_keeps_everything_where_it_is(
    droplets: ProcessDroplets,
) -> None:
    droplets.gone = {"blue-2"}
    move, error = droplets.move()
    assert droplets.asked == []
    assert error == move.trouble
    assert error == (
        "cleanup and worker stay on blue, because blue-2 may go on running what it ran: blue-2 (198.18.0.4) "
        f"cannot be reached{OFF}"
    )


def test_a_droplet_that_is_off_is_in_the_way_because_it_runs_everything_again_once_it_is_on(
    droplets: ProcessDroplets,
) -> None:
    blue = (droplets.fleet.blue[0], droplets.fleet.blue[1].model_copy(update={"status": "off"}))
    droplets.fleet = droplets.fleet.model_copy(update={"blue": blue})
    assert "blue-2 is 'off' instead of active" in (droplets.move()[1] or "")
    assert droplets.asked == []


def test_a_droplet_that_was_destroyed_is_in_nobody_s_way(droplets: ProcessDroplets) -> None:
    droplets.fleet = droplets.fleet.model_copy(update={"blue": droplets.fleet.blue[:1]})
    assert droplets.move()[1] is None
    assert droplets.on(Color.GREEN) == EVERYTHING


@pytest.mark.parametrize("stray", ["blue-2", "green-2"])
@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("layout", ["on the other color", "on the live color", "on both", "nowhere"])
def test_a_droplet_that_lost_its_role_keeps_no_processes_beside_those_of_the_live_color(
    droplets: ProcessDroplets, layout: str, stray: str, is_gone: bool
) -> None:
    everywhere, _ = LAYOUTS[layout]
    droplets.running = {one.name: {"worker"} if one.name in everywhere else set() for one in droplets.all}
    droplets.running["green-1"].add("cleanup")
    droplets.stray(stray, "must have one of the tags")
    droplets.gone = {stray} if is_gone else set()
    before = set().union(*droplets.running.values())
    _, error = droplets.move()
    assert before <= set().union(*droplets.running.values())
    away = [f"{stray} (198.18.0." in (error or ""), f"({stray} must have one of the tags)" in (error or "")]
    others = {one.name for one in droplets.fleet.blue}
    if is_gone and (layout == "nowhere" or everywhere & others):
        assert away == [True, True]
        return
    assert error is None
    assert droplets.on(Color.GREEN) == EVERYTHING[: len(droplets.fleet.green)]
    assert is_gone or droplets.running[stray] == set()


def test_a_droplet_without_a_role_that_has_no_processes_gets_no_job(droplets: ProcessDroplets) -> None:
    droplets.stray("blue-2", "must have one of the tags")
    droplets.running["blue-2"], droplets.releases["blue-2"] = set(), ()
    assert droplets.move()[1] is None
    assert "blue-2" not in {name for name, _ in droplets.asked}


def test_what_only_one_droplet_runs_leaves_a_first_one_that_lost_its_role(droplets: ProcessDroplets) -> None:
    droplets.put(Color.BLUE)
    droplets.put(Color.GREEN, "worker", "cleanup")
    droplets.stray("green-1", "must have one of the tags")
    assert droplets.move()[1] is None
    assert (droplets.running["green-1"], droplets.running["green-2"]) == (set(), {"worker", "cleanup"})
    assert droplets.asked.index(("green-1", ())) < droplets.asked.index(("green-2", ("cleanup", "worker")))


def test_a_process_that_does_not_end_on_one_droplet_runs_again_on_all_of_its_color(
    droplets: ProcessDroplets,
) -> None:
    droplets.stubborn = {"blue-2"}
    _, error = droplets.move()
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (EVERYTHING, NOTHING)
    assert error == (
        "cleanup and worker stay on blue, because blue-2 may go on running what it ran: blue-2: worker@1 did "
        f"not end{OFF}"
    )


def test_what_may_overlap_does_not_stay_on_both_colors_if_the_rest_cannot_move(
    droplets: ProcessDroplets,
) -> None:
    droplets.names = ("worker", "mailer")
    droplets.put(Color.BLUE, "worker", "mailer")
    droplets.stubborn = {"blue-2"}
    droplets.move()
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == ([{"worker", "mailer"}] * 2, NOTHING)


def test_what_may_overlap_and_does_not_stay_up_stays_where_it_runs_well(droplets: ProcessDroplets) -> None:
    droplets.names, droplets.dying = ("mailer",), {"mailer"}
    droplets.put(Color.BLUE, "mailer")
    _, error = droplets.move()
    assert "mailer@1 does not stay up: no such table" in (error or "")
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == ([{"mailer"}] * 2, NOTHING)


def test_a_process_that_does_not_stay_up_is_a_failure_with_its_last_words_and_no_way_back(
    droplets: ProcessDroplets,
) -> None:
    droplets.dying = {"worker"}
    _, error = droplets.move()
    assert "green is to run cleanup and worker" in (error or "")
    assert "green-1: worker@1 does not stay up: no such table" in (error or "")
    assert droplets.on(Color.BLUE) == NOTHING


FALLEN: dict[str, dict[str, Any]] = {
    "does not stay up": {"state": ProcessState.RESTARTING},
    "fell a moment ago": {"up": False},
    "is being started": {"state": ProcessState.STARTING},
    "was given up": {"state": ProcessState.FAILED},
    "was stopped by hand": {"state": ProcessState.STOPPED},
    "is being stopped": {"state": ProcessState.STOPPING, "up": False},
    "does not start with the droplet": {"enabled": False},
    "was never started": {"enabled": False, "state": ProcessState.STOPPED},
}


@pytest.mark.parametrize("how", FALLEN)
@pytest.mark.parametrize("name", ["worker", "cleanup", "mailer"])
@pytest.mark.parametrize("on", [("green-1",), ("green-2",), ("green-1", "green-2")], ids=" and ".join)
def test_what_is_enabled_on_the_live_color_and_does_not_run_well_is_started_by_any_later_run(
    droplets: ProcessDroplets, how: str, name: str, on: tuple[str, ...]
) -> None:
    droplets.names = ("worker", "cleanup", "mailer")
    droplets.put(Color.BLUE)
    droplets.put(Color.GREEN, *droplets.names)
    droplets.fallen = {(one, name): FALLEN[how] for one in on if name in droplets.running[one]}
    started = {one for one, _ in droplets.fallen}
    move, error = droplets.move()
    assert error is None
    assert {one for one, run in droplets.asked if run} == started
    many = f"{len(started)} droplet{'s' * (len(started) > 1)}"
    assert str(move) == (f"{name} started on green ({many})" if started else "")
    assert droplets.fallen == {}
    assert droplets.on(Color.GREEN) == [{"worker", "cleanup", "mailer"}, {"worker", "mailer"}]


@pytest.mark.parametrize("how", FALLEN)
def test_what_starts_with_a_droplet_of_the_other_color_is_stopped_there_whatever_it_does_now(
    droplets: ProcessDroplets, how: str
) -> None:
    droplets.put(Color.GREEN, "worker", "cleanup")
    droplets.put(Color.BLUE)
    droplets.running["blue-2"] = {"worker"}
    droplets.fallen = {("blue-2", "worker"): FALLEN[how]}
    assert droplets.move()[1] is None
    is_nothing = how == "was never started"
    assert droplets.asked == ([] if is_nothing else [("blue-2", ())])


@pytest.mark.parametrize("stubborn", [False, True])
def test_what_is_ending_on_one_live_droplet_has_ended_before_any_other_starts_it(
    droplets: ProcessDroplets, stubborn: bool
) -> None:
    """A rollback asks what was left on the color to end, and does not wait."""
    droplets.put(Color.BLUE)
    droplets.running["green-2"] = {"worker"}
    droplets.fallen = {("green-2", "worker"): FALLEN["is being stopped"]}
    droplets.stubborn = {"green-2"} if stubborn else set()
    _, error = droplets.move()
    assert (error is not None) is stubborn
    started = ("green-1", ("cleanup", "worker"))
    assert (started in droplets.asked) is not stubborn
    if not stubborn:
        assert droplets.asked.index(("green-2", ())) < droplets.asked.index(started)


def test_a_process_that_does_not_stay_up_fails_the_next_run_too_until_it_does(
    droplets: ProcessDroplets,
) -> None:
    droplets.dying = {"worker"}
    first = droplets.move()[1]
    assert "green-1: worker@1 does not stay up: no such table" in (first or "")
    for token in (7, 8):
        assert droplets.move(token=token)[1] == first
    droplets.dying = set()
    assert droplets.move(token=9)[1] is None


def test_what_does_not_stay_up_keeps_nothing_that_is_left_of_another_release_running(
    droplets: ProcessDroplets,
) -> None:
    droplets.put(Color.BLUE)
    droplets.put(Color.GREEN, "worker", "cleanup")
    droplets.running["green-2"].add("importer")
    droplets.dying = {"worker"}
    droplets.fallen = {("green-2", "worker"): FALLEN["does not stay up"]}
    assert "green-2: worker@1 does not stay up" in (droplets.move()[1] or "")
    assert droplets.on(Color.GREEN) == EVERYTHING


def test_what_may_overlap_and_does_not_stay_up_holds_nothing_else_back_once_it_has_moved(
    droplets: ProcessDroplets,
) -> None:
    droplets.names, droplets.dying = ("worker", "mailer"), {"mailer"}
    droplets.put(Color.BLUE, "worker")
    droplets.put(Color.GREEN, "mailer")
    droplets.fallen = {(one, "mailer"): FALLEN["does not stay up"] for one in ("green-1", "green-2")}
    assert "mailer@1 does not stay up" in (droplets.move()[1] or "")
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (NOTHING, [{"worker", "mailer"}] * 2)


def test_an_overlapping_process_with_a_new_name_is_started_before_the_old_one_is_stopped(
    droplets: ProcessDroplets,
) -> None:
    droplets.names = ("mailer",)
    droplets.put(Color.BLUE, "worker")
    assert droplets.move()[1] is None
    assert droplets.asked.index(("green-2", ("mailer",))) < droplets.asked.index(("blue-1", ()))
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (NOTHING, [{"mailer"}] * 2)


def test_what_was_started_early_goes_on_where_something_else_is_stopped(droplets: ProcessDroplets) -> None:
    droplets.names = ("mailer",)
    droplets.put(Color.BLUE, "mailer")
    droplets.running["green-1"] = {"importer"}
    assert droplets.move()[1] is None
    assert {run for name, run in droplets.asked if name == "green-1"} == {("mailer",)}
    assert (droplets.on(Color.BLUE), droplets.on(Color.GREEN)) == (NOTHING, [{"mailer"}] * 2)


def test_a_run_that_nothing_depends_on_its_processes_goes_on_with_a_warning(
    droplets: ProcessDroplets,
) -> None:
    droplets.gone = {"blue-2"}
    move, error = droplets.move(goes_on=True)
    assert error is None
    assert move.trouble.startswith("cleanup and worker stay on blue")


def test_a_switch_that_nobody_has_confirmed_moves_nothing(droplets: ProcessDroplets) -> None:
    droplets.live(Color.GREEN, pending=PENDING)
    assert "a switch to green that is not decided, by deploy/2" in (droplets.move()[1] or "")
    assert droplets.asked == []


def test_a_first_release_that_nobody_has_confirmed_gets_no_processes(droplets: ProcessDroplets) -> None:
    droplets.live(Color.GREEN, confirmed=None)
    assert "no proxy knows that this was ever confirmed" in (droplets.move()[1] or "")
    assert droplets.asked == []


def test_a_proxy_that_may_send_traffic_elsewhere_has_to_be_asked(droplets: ProcessDroplets) -> None:
    droplets.fleet = droplets.fleet.model_copy(update={"proxies": (droplet(1, "lb-1"), droplet(2, "lb-2"))})
    droplets.statuses["lb-2"] = status(Color.BLUE)
    assert "the proxies disagree" in (droplets.move()[1] or "")
    assert droplets.asked == []


def test_before_the_first_release_there_is_nothing_to_move(droplets: ProcessDroplets) -> None:
    droplets.statuses = {"lb-1": status(None)}
    assert droplets.move()[1] is None
    assert droplets.asked == []


def test_a_timer_for_one_droplet_stays_with_its_holder_while_the_first_droplet_is_away(
    droplets: ProcessDroplets,
) -> None:
    droplets.put(Color.BLUE)
    droplets.put(Color.GREEN, "worker")
    droplets.gone = {"green-1"}
    assert droplets.move()[1] == (
        "green-1 cannot be asked, and no other droplet runs cleanup: green-1 (198.18.0.5) cannot be reached"
        + FIX
    )
    assert droplets.running["green-2"] == {"worker"}
    droplets.running["green-2"] = {"worker", "cleanup"}
    droplets.move()
    assert droplets.running["green-2"] == {"worker", "cleanup"}


def test_a_first_droplet_that_was_made_anew_gets_the_timer_after_its_holder_has_stopped_it(
    droplets: ProcessDroplets,
) -> None:
    droplets.put(Color.BLUE)
    droplets.running |= {"green-1": set(), "green-2": {"worker", "cleanup"}}
    assert droplets.move()[1] is None
    assert droplets.on(Color.GREEN) == EVERYTHING
    assert ("green-2", ("worker",)) in droplets.asked
    assert droplets.asked[-1] == ("green-1", ("cleanup", "worker"))


def test_what_is_left_of_a_release_that_had_more_processes_is_stopped(droplets: ProcessDroplets) -> None:
    droplets.live(Color.BLUE)
    droplets.running["blue-1"].add("importer")
    move, error = droplets.move()
    assert error is None
    assert droplets.on(Color.BLUE) == EVERYTHING
    assert str(move) == "importer stopped on droplets that are not to run it"


def test_a_live_droplet_that_is_away_is_named_once_the_others_run_everything(
    droplets: ProcessDroplets,
) -> None:
    droplets.gone = {"green-2"}
    _, error = droplets.move()
    assert droplets.running["green-1"] == {"worker", "cleanup"}
    assert error == (
        "cleanup and worker moved to green (1 droplet), but green-2 cannot be asked: green-2 (198.18.0.6) "
        f"cannot be reached{FIX}"
    )


@pytest.mark.parametrize(
    ("names", "gone", "why"),
    [
        (("worker",), {"green-1", "green-2"}, "green-1 and green-2 cannot be asked: "),
        (("cleanup",), {"green-1"}, "green-1 cannot be asked: "),
        (("worker", "cleanup"), {"green-1"}, "green-1 cannot be asked: "),
    ],
)
def test_nothing_is_stopped_that_no_live_droplet_is_known_to_start(
    droplets: ProcessDroplets, names: tuple[str, ...], gone: set[str], why: str
) -> None:
    droplets.names, droplets.gone = names, gone
    droplets.put(Color.BLUE, *names)
    _, error = droplets.move()
    assert droplets.asked == []
    stays = "worker stays" if names == ("worker",) else "cleanup stays"
    assert (error or "").startswith(f"{stays} on blue, because {why}")
    assert (error or "").endswith(OFF)


def test_a_live_color_without_droplets_gets_nothing(droplets: ProcessDroplets) -> None:
    droplets.fleet = droplets.fleet.model_copy(update={"green": ()})
    assert droplets.move()[1] == (
        "cleanup and worker stay on blue, because green has no droplets; run "
        "bluegreen_provision__my_perl_app, which starts everything on green"
    )
    assert droplets.asked == []


def test_what_the_live_release_does_not_have_any_more_is_not_forgotten_on_a_droplet_that_is_away(
    droplets: ProcessDroplets,
) -> None:
    droplets.releases = dict.fromkeys(("green-1", "green-2"), ())
    droplets.gone = {"blue-2"}
    assert droplets.move()[1] == (
        "cleanup and worker stopped on droplets that are not to run it, but blue-2 cannot be asked: blue-2 "
        f"(198.18.0.4) cannot be reached{FIX}"
    )
    assert droplets.on(Color.BLUE) == [set(), {"worker"}]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("names", [("worker",), ("cleanup",), ("worker", "cleanup")])
@pytest.mark.parametrize("lost", [(), ("green-1",), ("green-2",), ("green-1", "green-2")], ids=" and ".join)
def test_whichever_droplets_cannot_be_asked_nothing_vanishes_and_success_means_that_all_is_in_its_place(
    monkeypatch: pytest.MonkeyPatch, layout: str, names: tuple[str, ...], lost: tuple[str, ...]
) -> None:
    everywhere, alone = LAYOUTS[layout]
    all_names = ["blue-1", "blue-2", "green-1", "green-2"]
    for gone in chain.from_iterable(combinations(all_names, count) for count in range(5)):
        droplets = ProcessDroplets(monkeypatch)
        droplets.live(Color.GREEN)
        droplets.names, droplets.gone = names, set(gone)
        droplets.releases = dict.fromkeys(lost, ())
        for one in all_names:
            runs = {"worker"} if one in everywhere else set()
            droplets.running[one] = (runs | ({"cleanup"} if one == alone else set())) & set(names)
        before = {one: set(running) for one, running in droplets.running.items()}
        error = droplets.move()[1]
        where = (gone, before, droplets.running, error)
        has = [set(names) if one not in lost else set() for one in ("green-1", "green-2")]
        # A name that is not in the live release is to end.
        of_release = set().union(*has)
        after = set().union(*droplets.running.values())
        assert set().union(*before.values()) & of_release <= after, where
        both = set().union(*droplets.on(Color.BLUE)) & set().union(*droplets.on(Color.GREEN))
        assert both <= (before["blue-1"] | before["blue-2"]) & (before["green-1"] | before["green-2"]), where
        if error is not None:
            assert any(f"{one} (198.18.0." in error for one in gone), where
            continue
        assert droplets.on(Color.GREEN) == [has[0], has[1] - (has[0] & {"cleanup"})], where
        for one in ("blue-1", "blue-2"):
            assert not droplets.running[one] or one in gone, where
        # Only droplets of the other color may be away, and only if nothing had to be changed.
        assert not {"green-1", "green-2"} & set(gone), where
        assert all(droplets.running[one] == before[one] for one in gone), where


def test_a_run_without_the_lock_moves_nothing() -> None:
    task = MoveProcessesOperator(task_id="move_processes", app_id="my_perl_app", lock=None)
    with pytest.raises(AirflowSkipException):
        task.act(ThisRun(context()))
