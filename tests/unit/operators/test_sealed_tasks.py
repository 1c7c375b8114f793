"""Tasks refuse what was changed by hand before they do their work."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import (
    align,
    approval,
    build,
    confirm,
    deploy,
    drain,
    final_validation,
    preview_check,
    previous_release,
    render_and_reload,
)
from bluegreen.operators import switch_traffic as switch
from bluegreen.operators.support.seals import LockSeals
from bluegreen.settings.app import App
from bluegreen.settings.migrations import MigrationSettings
from tests.unit.operators.sealed_runs import (
    APP,
    BASELINE,
    GOOD,
    LOCK,
    OTHER_GOOD,
    PLAN,
    SWITCHED,
    checked,
    task_of,
)
from tests.unit.runs import Run


@pytest.mark.parametrize("goes_back", [False, True])
@pytest.mark.parametrize("missing", ["provision_check", "preview_check"])
def test_no_traffic_moves_without_a_plan_and_a_preview(missing: str, goes_back: bool) -> None:
    run = checked(Run(first="previous_release" if goes_back else "resolve_ref"))
    del run.xcoms[missing, "done"]
    plan = PLAN.model_dump(mode="json")
    hook = create_autospec(ProxiesHook, instance=True)
    task = task_of(switch.SwitchTrafficOperator, hook, plan=plan, goes_back=goes_back)
    with pytest.raises(AirflowFailException, match=f"the task {missing} has not done this"):
        task.execute(run.context)
    hook.switch.assert_not_called()


def test_no_traffic_moves_without_the_migration_that_the_app_s_file_has() -> None:
    run, hook = checked(Run()), create_autospec(ProxiesHook, instance=True)
    task = task_of(switch.SwitchTrafficOperator, hook, plan=PLAN.model_dump(mode="json"))
    migrations = MigrationSettings(expand=[["sqitch", "deploy"]])
    task.__dict__["app"] = task.app.model_copy(update={"migrations": migrations})
    run.context["dag"].task_ids.append("expand")
    with pytest.raises(AirflowFailException, match="the task expand has not done this under the lock"):
        task.execute(run.context)
    hook.switch.assert_not_called()


def test_a_switch_that_no_bake_has_watched_is_not_confirmed() -> None:
    run, hook = checked(Run()), create_autospec(ProxiesHook, instance=True)
    task = task_of(confirm.ConfirmOperator, hook)
    task.execute(run.context)
    hook.confirm.assert_called_once_with(GOOD)
    del run.xcoms["final_validation", "done"]
    with pytest.raises(AirflowFailException, match="the task final_validation has not done this"):
        task.execute(run.context)
    hook.confirm.assert_called_once_with(GOOD)


PLANNED: dict[str, Any] = {
    "render_and_reload": render_and_reload.RenderAndReloadOperator,
    "drain": drain.DrainOperator,
    "align": align.AlignOperator,
    "preview_check": preview_check.PreviewCheckOperator,
}


@pytest.mark.parametrize("task_id", PLANNED)
def test_no_task_follows_a_plan_that_was_changed_by_hand(task_id: str) -> None:
    run, plan = checked(Run()), PLAN.model_copy(update={"live": Color.GREEN, "idle": Color.BLUE})
    run.xcoms["resolve_ref", "return_value"] = GOOD
    hook = create_autospec(ProxiesHook, instance=True)
    fields = {"revision": GOOD} if task_id == "preview_check" else {}
    task = PLANNED[task_id](
        task_id=task_id, app_id="my_perl_app", lock=LOCK.model_dump(mode="json"), plan=plan, **fields
    )
    task.__dict__ |= {"app": APP, "proxies": lambda: hook}
    with pytest.raises(AirflowFailException, match="the task provision_check has not done this"):
        task.execute(run.context)
    assert hook.method_calls == []


def approval_of(hook: Any, app: App, baseline: Any) -> Any:
    """Return the task that asks somebody to approve a switch."""
    task: Any = approval.SwitchApprovalOperator(
        task_id="approval",
        app_id="my_perl_app",
        subject="Switch?",
        lock=LOCK.model_dump(mode="json"),
        plan=PLAN.model_dump(mode="json"),
        revision=GOOD,
        baseline=baseline,
    )
    task.__dict__ |= {"app": app, "proxies": lambda: hook}
    return task


def test_a_person_is_not_asked_to_approve_by_a_baseline_that_was_changed_by_hand() -> None:
    run, hook = checked(Run()), create_autospec(ProxiesHook, instance=True)
    run.context["dag_run"].clear_number = 0
    task = approval_of(hook, APP, {"samples": [], "unproven": ["/broken"]})
    with pytest.raises(AirflowFailException, match="the task preview_check has not done this"):
        task.execute(run.context)
    hook.renew.assert_not_called()


def test_a_person_is_not_asked_to_approve_by_migrations_that_were_changed_by_hand() -> None:
    run, hook = checked(Run()), create_autospec(ProxiesHook, instance=True)
    run.context["dag_run"].clear_number = 0
    run.task_id = "expand"
    ran: dict[str, Any] = {"phase": "expand", "droplet": "green-1", "ran": [], "before": "12 pending"}
    LockSeals(run.this, APP, LOCK).seal_result(GOOD, ran)
    run.xcoms["expand", "return_value"] = {**ran, "before": "none pending"}
    run.context["dag"].task_ids.append("expand")
    app = APP.model_copy(update={"migrations": MigrationSettings(expand=[["sqitch", "deploy"]])})
    task = approval_of(hook, app, BASELINE)
    with pytest.raises(AirflowFailException, match="the task expand has not done this"):
        task.execute(run.context)
    hook.renew.assert_not_called()


@pytest.mark.parametrize(
    ("task_id", "changed"),
    [
        ("preview_check", {"baseline": {"samples": [], "unproven": ["/"]}}),
        ("switch_traffic", {"switched": {"lb-1": {**SWITCHED["lb-1"], "counters": {}}}}),
    ],
)
def test_a_release_is_not_judged_by_figures_that_were_changed_by_hand(
    monkeypatch: pytest.MonkeyPatch, task_id: str, changed: dict[str, Any]
) -> None:
    baked: list[str] = []
    monkeypatch.setattr(
        final_validation.FinalValidationOperator, "act", lambda self, _run: baked.append(self.revision)
    )

    def bake(**changes: Any) -> None:
        # As Airflow hands it over.
        given = json.loads(json.dumps({"baseline": BASELINE, "switched": SWITCHED, **changes}))
        plan = PLAN.model_dump(mode="json")
        hook = create_autospec(ProxiesHook, instance=True)
        task_of(final_validation.FinalValidationOperator, hook, plan=plan, **given).execute(
            checked(Run()).context
        )

    bake()
    assert baked == [GOOD]
    with pytest.raises(AirflowFailException, match=f"the task {task_id} has not done this"):
        bake(**changed)
    assert baked == [GOOD]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (build.BuildOperator, {}),
        (deploy.DeployOperator, {"ip": str(PLAN.idle_droplets[0].public), "built": {}}),
    ],
)
def test_nothing_is_built_or_installed_by_a_plan_that_the_run_has_not_made(
    kind: Any, given: dict[str, Any]
) -> None:
    run, plan = (
        checked(Run()),
        PLAN.model_copy(update=OTHER_GOOD).model_dump(mode="json"),
    )
    hook = create_autospec(ProxiesHook, instance=True)
    task = task_of(kind, hook, plan=plan, **given)
    with pytest.raises(AirflowFailException, match="the task provision_check has not done this"):
        task.execute(run.context)
    hook.require_idle.assert_not_called()


@pytest.mark.parametrize("changed", [{"digest": "e" * 64}, {"release": "x"}, {"configuration": "e" * 64}])
def test_nothing_is_installed_that_the_run_has_not_built(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    deployed: list[Any] = []
    monkeypatch.setattr(deploy.DeployOperator, "act", lambda self, _run: deployed.append(self.built))
    result, run = {"digest": "d" * 64, "release": "r", "configuration": "c" * 64}, checked(Run())
    run.task_id = "build"
    LockSeals(run.this, APP, LOCK).seal_result(GOOD, result)

    def install(built: dict[str, Any]) -> None:
        given = {"plan": PLAN.model_dump(mode="json"), "ip": str(PLAN.idle_droplets[0].public)}
        hook = create_autospec(ProxiesHook, instance=True)
        task_of(deploy.DeployOperator, hook, built=built, **given).execute(run.context)

    install(json.loads(json.dumps(result)))
    with pytest.raises(AirflowFailException, match="the task build has not done this"):
        install({**result, **changed})
    assert deployed == [result]


def test_a_rollback_does_not_take_somebody_s_word_for_what_was_kept_last() -> None:
    run, plan = (
        checked(Run(first="previous_release")),
        PLAN.model_copy(update=OTHER_GOOD),
    )
    hook = create_autospec(ProxiesHook, instance=True)
    task: Any = previous_release.PreviousReleaseOperator(
        task_id="previous_release",
        app_id="my_perl_app",
        lock=LOCK.model_dump(mode="json"),
        plan=plan.model_dump(mode="json"),
        activation=[],
    )
    task.__dict__["proxies"] = lambda: hook
    with pytest.raises(AirflowFailException, match="the task provision_check has not done this"):
        task.execute(run.context)
    hook.renew.assert_not_called()
