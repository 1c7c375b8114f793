"""Runs that require an approval, answered through Airflow's REST API."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from demo.client import Run
from demo.errors import ApiError
from tests.sandbox.app_file import DEPLOY, chat, settings
from tests.sandbox.stack import RUN_SECONDS, Ended, Stack, fingerprint
from tests.sandbox.way_back import make_sure_of_a_way_back
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def ask(stack: Stack, ref: str) -> tuple[Run, str]:
    """Trigger a deploy that requires approval; return it and what it shows when it waits."""
    run = stack.trigger("deploy", ref=ref, require_approval=True, reason="a *better* answer")
    client = stack.client
    until(lambda: any(task.state == "awaiting_input" for task in client.tasks(run)), "the run waits", 90)
    # Airflow 3.3 takes a task that is answered before its process has ended for a failed one, and asks again.
    until(lambda: not stack.busy_workers(), "the process that asked has ended")
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/approval/-1/hitlDetails"
    return run, str(client.get(path)["body"])


def end_of(stack: Stack, run: Run) -> Ended:
    state = stack.client.wait(run, RUN_SECONDS)
    return Ended(run, state, stack.client.xcom(run, "report", "report"))


def note_of(stack: Stack, run: Run) -> str | None:
    """What Airflow's list of runs shows beside a run."""
    note: str | None = stack.client.get(f"dags/{run.dag_id}/dagRuns/{run.run_id}")["note"]
    return note


def test_an_approved_deploy_goes_live_and_is_only_approved_once(stack: Stack) -> None:
    before, ref, live = stack.live(), stack.other_ref(), stack.live_ref()
    run, shown = ask(stack, ref)
    assert stack.live() == before
    assert f"({stack.revisions[str(live)][:12]})" in shown
    assert f"({stack.revisions[ref][:12]})" in shown
    newer = max(ref, str(live))
    sign = "+" if newer == ref else "-"
    assert f"{sign} {stack.revisions[newer][:7]} " in shown, "the commits in between"
    assert "\n    a *better* answer" in shown
    lock = stack.load_balancer().run(["cat", "/var/lib/bluegreen/lock.json"]).stdout
    assert '"lease": 3720' in lock, lock
    assert note_of(stack, run) == f"deploy of {ref}"

    stack.client.answer(run, "approval", "Approve")
    with pytest.raises(ApiError, match=r"409|already"):
        stack.client.answer(run, "approval", "Reject")
    end_of(stack, run).expect("live and confirmed")
    assert stack.live() != before
    assert stack.live_ref() == ref
    assert note_of(stack, run) == stack.client.last_line(run)


def test_a_rejected_deploy_ends_before_the_switch_and_gets_no_traffic_by_a_rollback_either(
    stack: Stack,
) -> None:
    make_sure_of_a_way_back(stack)
    before, kept = stack.live(), stack.other_ref()
    run, _ = ask(stack, "v6-slow")
    stack.client.answer(run, "approval", "Reject")
    ended = end_of(stack, run).expect("refused before the switch")
    assert ended.state == "failed"
    assert "not approved by admin" in ended.report["message"].lower()
    assert f"live is {before}" in ended.report["message"]
    assert stack.live() == before
    assert note_of(stack, run) == ended.report["message"]

    stack.run("rollback").expect("live and confirmed")
    assert stack.live() != before
    assert stack.live_ref() == kept


def test_no_answer_in_time_is_a_no_and_whoever_could_have_answered_was_told_where(stack: Stack) -> None:
    before, ref, client = stack.live(), stack.other_ref(), stack.client
    untouched = fingerprint(stack, before)

    def asked_in_the_form() -> object:
        return client.get(f"dags/{DEPLOY}/details")["params"]["require_approval"]["description"]

    with (
        chat(stack, "approval") as (heard, changes),
        settings(stack, {**changes, "timeouts": {"approval": 10}}, shown=asked_in_the_form),
    ):
        ended = stack.run("deploy", ref=ref, require_approval=True).expect("refused before the switch")
    assert ended.state == "failed"
    assert "not approved by anybody within 10 s (setting timeouts.approval)" in ended.report["message"]
    assert f"live is {before}" in ended.report["message"]
    states = {task.task_id: task.state for task in client.tasks(ended.run)}
    assert (states["approval"], states["switch_traffic"]) == ("failed", "upstream_failed")
    assert fingerprint(stack, before) == untouched
    [(_, sent)] = heard.asked("POST")
    page = f"{stack.airflow.url}/dags/{DEPLOY}/runs/{quote(ended.run.run_id)}/tasks/approval/required_actions"
    assert sent["message"] == f"my_perl_app waits for an approval: Switch {ref} live?\n{page}"
