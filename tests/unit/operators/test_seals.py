"""What the tasks of a run do not believe, whatever was changed by hand in Airflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import PolicyError
from bluegreen.fleet.droplets import Droplet
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
from bluegreen.operators.support.seals import LockSeals, Seals, older_than_live
from bluegreen.operators.support.started import require_started
from bluegreen.release.jobs import StartedPairing
from bluegreen.release.release import pairing
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.run.seal import key_from, opened, sealed
from bluegreen.settings.app import App
from bluegreen.settings.migrations import MigrationSettings
from bluegreen.traffic.agent_answers import GoodRelease, StartedRelease, SwitchResult
from tests.started import good
from tests.unit.fleets import GREEN, LB, ONE_EACH, droplet
from tests.unit.repositories import app_of
from tests.unit.runs import Run

GOOD, EVIL = "a" * 40, "e" * 40
LOCK = HeldLock(proxies=(LB,), tokens={"lb-1": 7})
LATER = LOCK.model_copy(update={"tokens": {"lb-1": 8}})
NOW = datetime(2026, 11, 30, tzinfo=UTC)
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH)
BASELINE: dict[str, Any] = {"samples": [], "unproven": []}
SWITCHED = {"lb-1": {"from": "blue", "to": "green", "milliseconds": 4.5, "at": 1764500000.25}}
RESULTS = {"preview_check": BASELINE, "switch_traffic": SWITCHED, "final_validation": {"bake_seconds": 10.0}}
OTHER_GOOD = {"good": GoodRelease.model_validate(good(EVIL))}
APP: App = app_of("https://example.com/shop.git", approval="always")


def test_a_revision_is_believed_only_as_the_first_task_found_it() -> None:
    run = Run()
    Seals(run.this, APP).seal_revision(GOOD)
    Seals(run.this, APP).require_revision(GOOD)
    with pytest.raises(
        PolicyError, match="eeeeeeeeeeee may not be used: the task resolve_ref did not find it"
    ):
        Seals(run.this, APP).require_revision(EVIL)
    run.xcoms["resolve_ref", "sealed"] |= {"revision": EVIL}
    with pytest.raises(PolicyError, match="changed by hand"):
        Seals(run.this, APP).require_revision(EVIL)
    with pytest.raises(PolicyError):
        Seals(Run().this, APP).require_revision(GOOD)


def test_what_was_found_in_another_run_does_not_count() -> None:
    old, run = Run("yesterday"), Run()
    Seals(old.this, APP).seal_revision(GOOD)
    run.xcoms = old.xcoms
    with pytest.raises(PolicyError):
        Seals(run.this, APP).require_revision(GOOD)


def test_a_rollback_believes_the_task_that_found_its_release() -> None:
    run = Run(first="previous_release")
    Seals(run.this, APP).seal_revision(GOOD)
    Seals(run.this, APP).require_revision(GOOD)


def checked(run: Run, lock: HeldLock = LOCK, plan: Plan = PLAN) -> Run:
    """Let the tasks before the switch have done their work."""
    first = run.task_id
    Seals(run.this, APP).seal_revision(GOOD)
    run.task_id = "provision_check"
    LockSeals(run.this, APP, lock).seal_plan(None if first == "previous_release" else GOOD, plan)
    for task_id in RESULTS:
        run.task_id = task_id
        LockSeals(run.this, APP, lock).seal_result(GOOD, RESULTS[task_id])
    return run


@pytest.mark.parametrize("first", ["resolve_ref", "previous_release"])
def test_what_the_tasks_of_a_run_have_found_counts(first: str) -> None:
    run = checked(Run(first=first))
    # As Airflow hands it over.
    plan = Plan.model_validate_json(PLAN.model_dump_json())
    for revision in (GOOD, GOOD if first == "resolve_ref" else None):
        LockSeals(run.this, APP, LOCK).require_plan(revision, plan)
    for task_id in ("preview_check", "final_validation"):
        LockSeals(run.this, APP, LOCK).require_done(task_id, GOOD)


@pytest.mark.parametrize(
    ("run", "revision", "plan"),
    [
        pytest.param(Run, GOOD, PLAN, id="the task was marked successful by hand"),
        pytest.param(lambda: checked(Run(), LATER), GOOD, PLAN, id="made under another lock"),
        pytest.param(lambda: checked(Run()), EVIL, PLAN, id="made for another revision"),
        pytest.param(
            lambda: checked(Run(first="previous_release")),
            GOOD,
            PLAN.model_copy(update=OTHER_GOOD),
            id="changed by hand in a rollback",
        ),
        pytest.param(lambda: renamed(checked(Run("yesterday"))), GOOD, PLAN, id="of another run"),
    ],
)
def test_a_plan_that_the_run_has_not_made_as_things_are_now_is_not_followed(
    run: Callable[[], Run], revision: str, plan: Plan
) -> None:
    with pytest.raises(PolicyError, match="the task provision_check has not done this under the lock"):
        LockSeals(run().this, APP, LOCK).require_plan(revision, plan)


@pytest.mark.parametrize("task_id", ["preview_check", "final_validation"])
@pytest.mark.parametrize(
    ("run", "revision"),
    [
        pytest.param(Run, GOOD, id="marked successful by hand"),
        pytest.param(lambda: checked(Run(), LATER), GOOD, id="done under another lock"),
        pytest.param(lambda: checked(Run()), EVIL, id="done with another revision"),
        pytest.param(lambda: swapped(checked(Run())), GOOD, id="said by another task"),
    ],
)
def test_work_that_a_task_has_not_done_does_not_count(
    task_id: str, run: Callable[[], Run], revision: str
) -> None:
    with pytest.raises(PolicyError, match=f"the task {task_id} has not done this under the lock"):
        LockSeals(run().this, APP, LOCK).require_done(task_id, revision)


def swapped(run: Run) -> Run:
    """Let each task say what the other has said."""
    one, other = ("preview_check", "done"), ("final_validation", "done")
    run.xcoms[one], run.xcoms[other] = run.xcoms[other], run.xcoms[one]
    return run


TWO = PLAN.model_copy(update={"fleet": ONE_EACH.model_copy(update={"green": (GREEN, droplet(9, "green-2"))})})
RELEASE, CONFIGURED = f"{GOOD}-{'d' * 16}", "c" * 64
ARTIFACT = {"name": f"{'d' * 64}.tar.gz", "sha256": "5" * 64, "size": 10}
BUILT = {
    **{"release": RELEASE, "digest": "d" * 64, "revision": GOOD, "artifact": ARTIFACT},
    **{"key": "b" * 64, "configuration": CONFIGURED},
}


def started_on(droplet: Droplet, **changes: str) -> StartedPairing:
    """What a deploy of this run starts there."""
    made = pairing(APP, RELEASE, CONFIGURED, str(droplet.private))
    return StartedPairing.model_validate({**made.as_json, **changes})


def deployed(run: Run, *started: tuple[str, StartedPairing], lock: HeldLock = LOCK) -> Run:
    """Let instances of the mapped task have started something on droplets, in this order."""
    goes_back = run.task_id == "previous_release"
    checked(run, lock, TWO)
    pairings = {one.name: started_on(one).pairing for one in TWO.idle_droplets}
    about = {"release": RELEASE, "configuration": CONFIGURED, "pairings": pairings}
    result = {**about, "confirmed": True, "is_running": False} if goes_back else BUILT
    run.task_id = "previous_release" if goes_back else "build"
    run.xcoms[run.task_id, "previous" if goes_back else "return_value"] = result
    LockSeals(run.this, APP, lock).seal_result(GOOD, result)
    run.task_id = "restore" if goes_back else "deploy"
    for run.map_index, (name, one) in enumerate(started):
        LockSeals(run.this, APP, lock).seal_started(GOOD, name, one)
    run.map_index = -1
    return run


BOTH = [(one.name, started_on(one)) for one in TWO.idle_droplets]
WHOLE = StartedRelease(
    release=RELEASE, configuration=CONFIGURED, pairings={name: one.pairing for name, one in BOTH}
)


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


def task_of(kind: type[Any], hook: Any, **fields: Any) -> Any:
    task: Any = kind(
        task_id="task", app_id="my_perl_app", lock=LOCK.model_dump(mode="json"), revision=GOOD, **fields
    )
    task.__dict__["app"] = app_of("https://example.com/shop.git")
    task.__dict__["proxies"] = lambda: hook
    return task


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


def test_a_person_is_not_asked_to_approve_by_a_baseline_that_was_changed_by_hand() -> None:
    run, hook = checked(Run()), create_autospec(ProxiesHook, instance=True)
    run.context["dag_run"].clear_number = 0
    task: Any = approval.SwitchApprovalOperator(
        task_id="approval",
        app_id="my_perl_app",
        subject="Switch?",
        lock=LOCK.model_dump(mode="json"),
        plan=PLAN.model_dump(mode="json"),
        revision=GOOD,
        baseline={"samples": [], "unproven": ["/broken"]},
    )
    task.__dict__ |= {"app": APP, "proxies": lambda: hook}
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
    task: Any = approval.SwitchApprovalOperator(
        task_id="approval",
        app_id="my_perl_app",
        subject="Switch?",
        lock=LOCK.model_dump(mode="json"),
        plan=PLAN.model_dump(mode="json"),
        revision=GOOD,
        baseline=BASELINE,
    )
    app = APP.model_copy(update={"migrations": MigrationSettings(expand=[["sqitch", "deploy"]])})
    task.__dict__ |= {"app": app, "proxies": lambda: hook}
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


def approved(run: Run, revision: str = GOOD, lock: HeldLock = LOCK) -> Run:
    run.task_id = "approval"
    LockSeals(run.this, APP, lock).seal_approval(revision, "alice", NOW)
    return run


def test_an_approval_that_was_given_counts() -> None:
    assert LockSeals(approved(Run()).this, APP, LOCK).require_approval(GOOD) == "alice"
    assert Seals(approved(Run()).this, APP).approver() == "alice"


REFUSAL = r"nobody has approved this switch, and it needs that \(setting policy\.approval: always\)"


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(Run, id="the task was marked successful by hand"),
        pytest.param(lambda: approved(Run(), EVIL), id="of another revision"),
        pytest.param(lambda: approved(Run(), lock=LATER), id="of another attempt of this run"),
        pytest.param(lambda: renamed(approved(Run("yesterday"))), id="of another run"),
        pytest.param(lambda: forged(approved(Run())), id="by another user"),
    ],
)
def test_an_approval_that_was_not_given_does_not_count(run: Callable[[], Run]) -> None:
    with pytest.raises(PolicyError, match=REFUSAL):
        LockSeals(run().this, APP, LOCK).require_approval(GOOD)


def renamed(run: Run) -> Run:
    """Put the answers of one run into another."""
    other = Run()
    other.xcoms = run.xcoms
    return other


def forged(run: Run) -> Run:
    """Change who approved."""
    run.xcoms["approval", "answer"] |= {"approver": "the boss"}
    return run


def test_a_run_that_needs_no_approval_is_not_asked_for_one() -> None:
    free = app_of("https://example.com/shop.git", approval="never")
    assert LockSeals(Run(require_approval=True).this, free, LOCK).require_approval(GOOD) is None


@pytest.mark.parametrize("goes_back", [False, True])
def test_the_switch_itself_refuses_without_an_answer_and_a_rollback_needs_none(
    monkeypatch: pytest.MonkeyPatch, goes_back: bool
) -> None:
    run = deployed(Run(first="previous_release" if goes_back else "resolve_ref"), *BOTH)
    asked: list[str] = []

    def move(**said: Any) -> dict[str, Any]:
        asked.append(said["revision"])
        return {}

    hook = SimpleNamespace(switch=move)
    task: Any = switch.SwitchTrafficOperator(
        task_id="switch_traffic",
        app_id="my_perl_app",
        lock=LOCK.model_dump(mode="json"),
        plan=TWO.model_dump(mode="json"),
        revision=GOOD,
        goes_back=goes_back,
    )
    task.__dict__["app"] = APP
    monkeypatch.setattr(task, "proxies", lambda: hook)
    # As if its traffic had come back by itself, which is all that a rollback has to find here.
    if goes_back:
        with pytest.raises(Exception, match="came back"):
            task.execute(run.context)
    else:
        with pytest.raises(AirflowFailException, match=REFUSAL):
            task.execute(run.context)
    assert asked == ([GOOD] if goes_back else [])


def test_the_report_says_who_forced_an_older_revision() -> None:
    run = Run(allow_older=True)
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH, older="older than live (abc) by 2 commits")
    run.xcoms["provision_check", "plan"] = plan.model_dump(mode="json")
    assert older_than_live(run.this, APP) == "older than live (abc) by 2 commits, forced by bob"
    always = app_of("https://example.com/shop.git", allow_older="always")
    assert older_than_live(run.this, always) == "older than live (abc) by 2 commits"


def test_a_seal_is_of_one_key_and_one_statement() -> None:
    key = key_from("secret")
    statement = {"a": 1, "b": ["x"]}
    assert opened(key, sealed(key, statement)) == statement
    assert opened(key_from("other"), sealed(key, statement)) is None
    assert opened(key, {**sealed(key, statement), "c": 1}) is None
    for found in (None, "x", {}, {"seal": 1}, {"a": 1, "seal": "é"}):
        assert opened(key, found) is None
