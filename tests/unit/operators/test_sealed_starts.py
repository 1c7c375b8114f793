"""No droplet gets traffic without the seal of what was started there."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.errors import PolicyError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import (
    preview_check,
)
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.support.seals import LockSeals
from bluegreen.operators.support.started import require_started
from bluegreen.release.jobs import StartedPairing
from bluegreen.traffic.agent_answers import SwitchResult
from tests.unit.operators.sealed_runs import (
    APP,
    BOTH,
    GOOD,
    LATER,
    LOCK,
    RELEASE,
    SWITCHED,
    TWO,
    WHOLE,
    deployed,
    started_on,
    task_of,
)
from tests.unit.runs import Run


@pytest.mark.parametrize("first", ["resolve_ref", "previous_release"])
@pytest.mark.parametrize("order", [1, -1])
def test_what_each_instance_has_started_counts_for_its_droplet_in_any_order(first: str, order: int) -> None:
    run = deployed(Run(first=first), *BOTH[::order])
    assert require_started(run.this, LockSeals(run.this, APP, LOCK), APP, GOOD, TWO) == WHOLE


FIRST, SECOND = BOTH
OTHER_RELEASE = f"{GOOD}-{'e' * 16}"


@pytest.mark.parametrize("first", ["resolve_ref", "previous_release"])
@pytest.mark.parametrize(
    ("started", "text"),
    [
        pytest.param([FIRST], "nothing proves that the task {task} has started", id="marked by hand"),
        pytest.param([FIRST, FIRST], "nothing proves", id="another instance's seal was copied"),
        pytest.param([FIRST, ("green-3", SECOND[1])], "nothing proves", id="of another droplet"),
        pytest.param(
            [FIRST, ("green-2", started_on(TWO.idle_droplets[1], configuration="e" * 64))],
            "has started .* with the configuration e{{12}}, instead of .* with c{{12}}",
            id="another configuration",
        ),
        pytest.param(
            [FIRST, ("green-2", started_on(TWO.idle_droplets[1], release=OTHER_RELEASE))],
            f"has started {OTHER_RELEASE} there with .*, instead of {RELEASE}",
            id="another artifact of the revision",
        ),
        pytest.param(
            [FIRST, ("green-2", started_on(TWO.idle_droplets[1], pairing="e" * 64))],
            "with another unit than the settings ask for now",
            id="another command",
        ),
    ],
)
def test_a_droplet_without_the_seal_of_what_is_to_run_there_gets_no_traffic(
    first: str, started: list[tuple[str, StartedPairing]], text: str
) -> None:
    run, hook = deployed(Run(first=first), *started), create_autospec(ProxiesHook, instance=True)
    line = "green-2: .*" + text.format(task="deploy" if first == "resolve_ref" else "restore")
    for kind in (preview_check.PreviewCheckOperator, switch.SwitchTrafficOperator):
        task = task_of(kind, hook, plan=TWO.model_dump(mode="json"), goes_back=first == "previous_release")
        with pytest.raises(AirflowFailException, match=line) as raised:
            task.execute(run.context)
        assert "\n" not in str(raised.value)
        assert "trigger a new run" in str(raised.value)
    hook.switch.assert_not_called()


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda: deployed(Run("yesterday"), *BOTH), id="another run"),
        pytest.param(lambda: deployed(Run(), *BOTH, lock=LATER), id="another lock"),
    ],
)
def test_what_was_started_by_another_run_or_under_another_lock_does_not_count(run: Callable[[], Run]) -> None:
    old, now = run(), deployed(Run())
    now.mapped = old.mapped
    with pytest.raises(PolicyError, match="green-1: nothing proves"):
        require_started(now.this, LockSeals(now.this, APP, LOCK), APP, GOOD, TWO)


def test_a_rollback_to_what_runs_already_needs_no_instance_and_cannot_be_made_one_by_hand() -> None:
    run = deployed(Run(first="previous_release"))
    seals = LockSeals(run.this, APP, LOCK)
    changed = {**run.xcoms["previous_release", "previous"], "is_running": True}
    run.xcoms["previous_release", "previous"] = changed
    with pytest.raises(PolicyError, match="the task previous_release has not done this"):
        require_started(run.this, seals, APP, GOOD, TWO)
    run.task_id = "previous_release"
    seals.seal_result(GOOD, changed)
    assert require_started(run.this, LockSeals(run.this, APP, LOCK), APP, GOOD, TWO) == WHOLE


def test_a_switch_hands_the_proxies_all_that_was_started() -> None:
    run, hook = deployed(Run(), *BOTH), create_autospec(ProxiesHook, instance=True)
    hook.switch.return_value = {"lb-1": SwitchResult.parse(SWITCHED["lb-1"])}
    task = task_of(switch.SwitchTrafficOperator, hook, plan=TWO.model_dump(mode="json"))
    task.execute(run.context)
    assert hook.switch.call_args.kwargs["started"] == WHOLE.model_dump()
