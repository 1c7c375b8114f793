"""Approvals that are refused, late or forged, and what the policy refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from demo.app_settings import app_settings
from demo.client import Run
from demo.environment import APP
from tests.sandbox.app_file import DEPLOY, chat, settings
from tests.sandbox.approvals import ask, end_of, note_of
from tests.sandbox.stack import Stack, fingerprint
from tests.sandbox.way_back import make_sure_of_a_way_back

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]


def test_a_rejected_deploy_ends_before_the_switch_and_gets_no_traffic_by_a_rollback_either(
    stack: Stack,
) -> None:
    make_sure_of_a_way_back(stack)
    before, kept = stack.live(), stack.other_ref()
    run, _ = ask(stack, "v6-slow", require_approval=True)
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


def test_the_policy_refuses_what_was_not_approved_by_somebody_else_however_it_was_marked(
    stack: Stack,
) -> None:
    before, ref, client = stack.live(), stack.other_ref(), stack.client

    def refused(run: Run, reason: str) -> None:
        ended = end_of(stack, run).expect("refused by policy")
        assert ended.state == "failed"
        assert reason in ended.report["message"], ended.report["message"]
        assert stack.live() == before

    with settings(stack, policy(approval="always", approvers=["approver"])):
        run, _ = ask(stack, ref)
        forged = {"run": f"{run.dag_id}/{run.run_id}", "approver": "approver", "token": 1, "seal": "0" * 64}
        client.write_xcom(run, "approval", "answer", {**forged, "revision": stack.revisions[ref]})
        client.mark_task(run, "approval", "success")
        refused(run, "nobody has approved this switch, and it needs that (setting policy.approval: always)")

        run, _ = ask(stack, ref)
        client.answer(run, "approval", "Approve")
        refused(run, "not approved: admin triggered this run, and one of approver who did not has to approve")
    with settings(stack, policy(approval="always", approvers=["somebody"])):
        run, _ = ask(stack, ref)
        stack.approver.answer(run, "approval", "Approve")
        refused(run, "approver may not approve it, but one of somebody (setting policy.approvers)")


def test_the_policy_refuses_a_commit_of_a_fork_and_an_old_release_before_anything_is_touched(
    stack: Stack,
) -> None:
    before = stack.live()
    untouched = fingerprint(stack, before)
    repository = stack.sandbox.repositories / f"{APP}.git"
    tree = git(repository, "rev-parse", "v1^{tree}")
    fork = git(repository, "commit-tree", tree, "-p", "v1", "-m", "of a fork")
    # As a forge shows the commits of a fork that asks to be merged.
    git(repository, "update-ref", "refs/pull/1/head", fork)
    old = git(repository, "commit-tree", tree, "-m", "an old release", moment=1_600_000_000)
    git(repository, "update-ref", "refs/heads/old", old)
    with settings(stack, policy(allow_older="asked")):
        for kind in ("deploy", "dry_run"):
            for ref, reason in (
                (fork, f"{fork[:12]} may not be deployed: it is in no branch and has no tag in"),
                ("old", f"{old[:12]} may not be deployed: it is older than live ("),
            ):
                ended = stack.run(kind, ref=ref)
                assert ended.state == "failed"
                assert reason in ended.report["message"]
                assert "policy." in ended.report["message"]
    git(repository, "update-ref", "-d", "refs/heads/old")
    git(repository, "update-ref", "-d", "refs/pull/1/head")
    assert fingerprint(stack, before) == untouched


def policy(**changes: Any) -> dict[str, Any]:
    """The policy of the sandbox's app with some changes, for the app's file."""
    return {"policy": {**app_settings(APP, "")["policy"], **changes}}


def git(repository: Path, *arguments: str, moment: int = 1_800_000_000) -> str:
    identity = {f"GIT_{who}_{key}": "t" for who in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    dates = {f"GIT_{who}_DATE": f"{moment} +0000" for who in ("AUTHOR", "COMMITTER")}
    command = ["git", "-c", f"safe.directory={repository}", "-C", str(repository), *arguments]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **identity, **dates}
    )
    return done.stdout.strip()
