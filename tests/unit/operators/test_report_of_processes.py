"""What a report says of an app's processes and timers: traffic is not all that counts."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.run.processes import ProcessesMove
from tests.unit.runs import LOCK, context, plan, report_of
from tests.unit.statuses import confirmed, status_at_end

pytestmark = pytest.mark.usefixtures("trusting")

SWITCHED = {"switch_traffic": "success", "final_validation": "success", "rollback": "skipped"}
KEPT = {**SWITCHED, "confirm": "success"}
MOVED = ProcessesMove(color=Color.GREEN, moved=("worker",), droplets=("green-1",))
STAYS = ProcessesMove(trouble="worker stays on blue, because blue-1 cannot be reached")


def dumped(move: ProcessesMove) -> dict[str, Any]:
    return move.model_dump(mode="json")


def run_of(states: dict[str, str], **xcoms: Any) -> Any:
    return context(states, lock=LOCK, provision_check__plan=plan(Color.BLUE), **xcoms)


@pytest.fixture
def kept(proxies: Any) -> Any:
    """Proxies that have kept the run's switch to green."""
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN, confirmed=confirmed())}
    return proxies


def test_a_good_run_s_line_and_record_have_what_was_moved(kept: Any) -> None:
    run = run_of({**KEPT, "move_processes": "success"}, move_processes__processes=dumped(MOVED))
    assert report_of(run, good=True).endswith("; worker moved to green (1 droplet)")
    record = kept.record.call_args.args[0]
    assert record["processes"]["moved"] == ["worker"]


def test_a_run_whose_processes_did_not_move_fails_and_says_once_what_runs_where(kept: Any) -> None:
    states = {**KEPT, "move_processes": "failed"}
    told = {"move_processes__processes": dumped(STAYS), "move_processes__error": STAYS.trouble}
    message = report_of(run_of(states, **told))
    assert message.startswith("deploy of v2: live and confirmed; worker stays on blue, because blue-1")
    assert message.count("worker stays on blue") == 1


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ("failed", "move_processes ended without a report (killed?), see its log"),
        ("upstream_failed", "the processes and timers were not moved; run bluegreen_provision__my_perl_app"),
    ],
)
def test_a_move_that_died_or_never_began_after_a_kept_switch_is_a_failure(
    kept: Any, state: str, what: str
) -> None:
    earlier = dumped(ProcessesMove(color=Color.BLUE))
    states = {**KEPT, "settle_processes": "success", "move_processes": state}
    assert report_of(run_of(states, settle_processes__processes=earlier)).endswith(f"; warning: {what}")


def test_trouble_before_the_switch_is_forgotten_once_all_has_moved(kept: Any) -> None:
    states = {**KEPT, "settle_processes": "success", "move_processes": "success"}
    told = {"settle_processes__processes": dumped(STAYS), "move_processes__processes": dumped(MOVED)}
    assert "stays on blue" not in report_of(run_of(states, **told), good=True)


def test_a_run_with_nothing_to_deploy_fails_if_processes_are_still_in_trouble(proxies: Any) -> None:
    proxies.statuses.return_value = {"lb-1": status_at_end(Color.GREEN)}
    found = {"outcome": "already live", "message": "every droplet of green runs it"}
    states = {"settle_processes": "success", "provision_check": "skipped", "move_processes": "skipped"}
    told = {"settle_processes__processes": dumped(STAYS), "provision_check__nothing_to_do": found}
    message = report_of(context(states, lock=LOCK, **told))
    assert message.startswith("deploy of v2: already live: ")
    assert message.endswith(f"; warning: {STAYS.trouble}")
    told["settle_processes__processes"] = dumped(ProcessesMove(color=Color.GREEN))
    report_of(context(states, lock=LOCK, **told), good=True)
