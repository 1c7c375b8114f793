"""Commands of an app's own, on real droplets, through real runs of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sandbox.app_file import DEPLOY, chat, settings, told
from tests.sandbox.stack import Ended, Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

MOMENTS = ("before_deploy", "before_switch", "after_switch", "after_rollback", "on_failure")
# The one place where a command leaves something behind.
FILE = "/var/lib/app-my_perl_app/hooks"
NOTE_FACTS = f"env | grep ^BLUEGREEN_ | tr '\\n' ' ' >>{FILE}; echo >>{FILE}"
SAY_FACTS_AND_FAIL = 'echo "$BLUEGREEN_REF to $BLUEGREEN_TO as $(id -un) in $PWD"; exit 7'


@contextmanager
def hooks(stack: Stack, hooks: dict[str, Any], **changes: Any) -> Iterator[None]:
    """Give the app commands at some moments."""
    client = stack.client
    with settings(stack, {"hooks": hooks, **changes}, shown=lambda: client.task_ids(DEPLOY)):
        yield


def test_a_command_that_fails_before_the_switch_stops_the_deploy_and_knew_all_about_it(stack: Stack) -> None:
    live, ref = stack.live(), stack.other_ref()
    idle = "green" if live == "blue" else "blue"
    with hooks(
        stack, {"before_switch": [{"command": ["bash", "-c", SAY_FACTS_AND_FAIL], "droplets": "one"}]}
    ):
        ended = stack.run("deploy", ref=ref)
    assert ended.report["outcome"] == "refused before the switch"
    release = f"/opt/app-my_perl_app/releases/{stack.revisions[ref]}-"
    assert f"ended with 7: {ref} to {idle} as app-my_perl_app in {release}" in ended.report["message"]
    assert stack.live() == live


@dataclass(frozen=True)
class Deploy:
    """A deploy of an app with commands at every moment.

    :param live: who was live before.
    :param states: of the tasks that run commands.
    :param noted: by droplet, the facts that each command found in its environment, in their order.
    """

    ended: Ended
    live: str
    states: dict[str, str]
    noted: dict[str, list[dict[str, str]]]

    def moments(self) -> dict[str, list[str]]:
        """At which moments commands ran on each droplet."""
        return {name: [facts["MOMENT"] for facts in noted] for name, noted in self.noted.items()}


def deploy(stack: Stack, ref: str) -> Deploy:
    machines = [*stack.machines("blue"), *stack.machines("green")]
    for machine in machines:
        machine.run(["rm", "-f", FILE])
    live = stack.live()
    ended = stack.run("deploy", ref=ref)
    noted = {}
    for machine in machines:
        lines = machine.run(["cat", FILE], check=False).stdout.splitlines()
        facts = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        noted[machine.name] = [
            {name.removeprefix("BLUEGREEN_"): value for name, value in one.items()} for one in facts
        ]
    states = {task.task_id: task.state for task in stack.client.tasks(ended.run) if task.task_id in MOMENTS}
    return Deploy(ended, live, states, noted)


@pytest.fixture(scope="module")
def deploys(stack: Stack) -> tuple[dict[str, Deploy], list[str]]:
    """Deploys that end in every way, and what people were told of those that rolled back."""
    command = {"command": ["bash", "-c", NOTE_FACTS]}
    with (
        chat(stack, "rollback") as (heard, changes),
        hooks(stack, {moment: [command] for moment in MOMENTS}, **changes),
    ):
        good = stack.other_ref()
        ends = {"unknown": deploy(stack, "nope"), "bad": deploy(stack, "v4-bad")}
        ends |= {"good": deploy(stack, good), "already live": deploy(stack, good)}
    return ends, told(heard)


def on(stack: Stack, color: str, moments: list[str]) -> dict[str, list[str]]:
    """These moments on every droplet of a color, and none on the others."""
    there = {machine.name for machine in stack.machines(color)}
    every = [*stack.machines("blue"), *stack.machines("green")]
    return {machine.name: moments if machine.name in there else [] for machine in every}


def test_commands_run_beside_a_good_deploy_on_all_its_droplets_and_know_the_run(
    stack: Stack, deploys: tuple[dict[str, Deploy], list[str]]
) -> None:
    good = deploys[0]["good"]
    good.ended.expect("live and confirmed")
    to = good.ended.report["live"]
    assert good.moments() == on(stack, to, ["before_deploy", "before_switch", "after_switch"])
    skipped = dict.fromkeys(MOMENTS, "success") | dict.fromkeys(("after_rollback", "on_failure"), "skipped")
    assert good.states == skipped
    run = good.ended.run
    [ref] = {facts["REF"] for noted in good.noted.values() for facts in noted}
    for machine in stack.machines(to):
        for facts in good.noted[machine.name]:
            assert {**facts, "MOMENT": ""} == {
                "APP": "my_perl_app",
                "MOMENT": "",
                "REF": ref,
                "REVISION": stack.revisions[ref],
                "FROM": good.live,
                "TO": to,
                "COLOR": to,
                "DROPLET": machine.name,
                "DAG_ID": run.dag_id,
                "RUN_ID": run.run_id,
            }


def test_commands_run_after_a_rollback_and_at_the_end_of_a_failure_on_the_bad_release_s_droplets(
    stack: Stack, deploys: tuple[dict[str, Deploy], list[str]]
) -> None:
    bad = deploys[0]["bad"]
    bad.ended.expect("rolled back")
    idle = "green" if bad.live == "blue" else "blue"
    # The last two run beside each other.
    in_order = {name: [*moments[:3], *sorted(moments[3:])] for name, moments in bad.moments().items()}
    assert in_order == on(stack, idle, list(MOMENTS))
    assert set(bad.states.values()) == {"success"}


@pytest.mark.parametrize(
    ("which", "outcome"), [("unknown", "refused before the switch"), ("already live", "already live")]
)
def test_a_run_that_ends_before_it_knows_its_droplets_runs_no_command_and_says_nothing_of_them(
    stack: Stack, deploys: tuple[dict[str, Deploy], list[str]], which: str, outcome: str
) -> None:
    early = deploys[0][which]
    early.ended.expect(outcome)
    assert early.moments() == on(stack, "none", [])
    assert early.states["on_failure"] == "skipped"
    assert "failed" not in early.states.values()
    assert not [moment for moment in MOMENTS if moment in early.ended.report["message"]]


def test_who_wants_to_hear_of_a_rollback_hears_of_that_only(
    deploys: tuple[dict[str, Deploy], list[str]],
) -> None:
    ends, heard = deploys
    assert heard == [ends["bad"].ended.report["message"]]
