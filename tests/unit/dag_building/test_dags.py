"""The DAGs as Airflow reads them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, timezone
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.serialization.serialized_objects import DagSerialization as SerializedDAG
from airflow.timetables.base import TimeRestriction

from bluegreen.dag_building.every_app import dags_for_every_app
from bluegreen.dag_building.task_docs import task_docs
from bluegreen.settings.app import App
from bluegreen.settings.hooks import Moment
from bluegreen.settings.schedule import SCHEDULES
from tests.unit.dag_files import REFERENCE, ROOT, dags_of, read_dags


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    return dict(read_dags().dags)


@pytest.fixture
def all_kinds(dags: dict[str, DAG], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    """The DAGs without an app, of an app as it comes, of one with all options, and of one with a bad file."""
    good = REFERENCE.read_text(encoding="utf-8")
    commands = "".join(f"  {moment}: [{{command: ['true']}}]\n" for moment in Moment)
    files = {
        "hooked": good.replace("\nhooks:\n", f"\nhooks:\n{commands}")
        .replace("# stop_idle_after: null", "stop_idle_after: 3600")
        .replace(
            "  # affinity: none",
            "  tls: {certificates: [{acme: [www.example.com]}], acme: {email: a@b.com}, redirect: false}",
        )
        .replace("# processes: {}", "processes: {worker: {command: [bin/worker]}}")
        .replace("# expand: []", "expand: [[sqitch, deploy]]")
        .replace("# contract: []", "contract: [[sqitch, deploy]]")
        .replace("# run: []", "run: [alice]")
        .replace("# irreversible: refuse", "irreversible: allow"),
        "broken": good.replace("region: nyc3", "regoin: nyc3"),
    }
    (tmp_path / "empty").mkdir()
    first = dags_of(tmp_path / "empty", monkeypatch)
    (tmp_path / "full").mkdir()
    found = {**first, **dags, **dags_of(tmp_path / "full", monkeypatch, **files)}
    options = {"freeze", *(moment.value for moment in Moment)}
    assert options <= set(found["bluegreen_deploy__hooked"].task_ids)
    assert not options & set(found["bluegreen_deploy__my_perl_app"].task_ids)
    assert found["bluegreen_deploy__broken"].task_ids == ["settings"]
    return found


def test_every_app_has_its_five_dags(dags: dict[str, DAG]) -> None:
    kinds = ("deploy", "dry_run", "provision", "rollback", "status")
    assert sorted(dags) == [f"bluegreen_{kind}__my_perl_app" for kind in kinds]


def test_a_deploy_goes_through_its_steps_in_this_order(dags: dict[str, DAG]) -> None:
    deploy = dags["bluegreen_deploy__my_perl_app"]
    order = [task.task_id for task in deploy.topological_sort()]  # type: ignore[no-untyped-call]
    order.remove("check")
    steps = [
        "resolve_ref",
        "lock",
        "provision_check",
        "render_and_reload",
        "drain",
        "build",
        "deploy",
        "health_check",
        "preview_check",
        "approval",
        "switch_traffic",
        "final_validation",
        "judge",
    ]
    assert order[: len(steps)] == steps
    assert sorted(order[len(steps) :]) == ["announce", "confirm", "report", "rollback"]


def test_a_dry_run_in_the_place_of_a_deploy_begins_beside_its_lock_and_is_reported(
    dags: dict[str, DAG],
) -> None:
    check = dags["bluegreen_deploy__my_perl_app"].get_task("check")
    assert check.upstream_task_ids == {"resolve_ref"}
    assert check.downstream_task_ids == {"report"}


def test_a_run_that_ends_early_starts_no_task_up_to_the_judge(dags: dict[str, DAG]) -> None:
    """Airflow's laxer rules also count the tasks whose results a task uses, which were done long before."""
    deploy = dags["bluegreen_deploy__my_perl_app"]
    before = deploy.get_task("judge").get_flat_relative_ids(upstream=True)
    assert {deploy.get_task(task_id).trigger_rule for task_id in before} == {"all_success"}


def test_traffic_goes_back_whether_a_run_made_a_plan_or_not(dags: dict[str, DAG]) -> None:
    for kind in ("deploy", "rollback"):
        rollback = dags[f"bluegreen_{kind}__my_perl_app"].get_task("rollback")
        assert rollback.upstream_task_ids == {"judge", "lock"}
        assert rollback.trigger_rule == "all_success"


def test_a_rollback_goes_on_whether_it_starts_a_release_or_not_but_not_if_it_has_none(
    dags: dict[str, DAG],
) -> None:
    rollback = SerializedDAG.from_dict(SerializedDAG.to_dict(dags["bluegreen_rollback__my_perl_app"]))
    preview = rollback.get_task("preview_check")
    assert preview.upstream_task_ids == {"previous_release", "restore"}
    assert preview.trigger_rule == "none_failed_min_one_success"
    assert "preview_check" not in rollback.get_task("provision_check").downstream_task_ids


def test_no_droplet_is_touched_before_the_drain(dags: dict[str, DAG]) -> None:
    deploy = dags["bluegreen_deploy__my_perl_app"]
    drain = deploy.get_task("drain")
    assert drain.upstream_task_ids == {"lock", "provision_check"}
    assert drain.downstream_task_ids == {"build"}
    for task_id in ("build", "deploy"):
        assert deploy.get_task(task_id).trigger_rule == "all_success"


def test_the_ref_of_a_deploy_is_required_so_that_a_misspelt_parameter_cannot_deploy_a_default(
    dags: dict[str, DAG],
) -> None:
    deploy = dags["bluegreen_deploy__my_perl_app"]
    with pytest.raises(ValueError, match="ref"):
        deploy.params.validate()


def test_the_report_runs_whatever_happened_and_decides_the_run(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        # The status has nothing to judge.
        if dag.task_ids == ["status"]:
            continue
        report = dag.get_task("report")
        assert report.is_teardown
        assert report.on_failure_fail_dagrun


def test_each_task_says_what_it_does_what_it_may_change_and_what_to_do_when_it_fails(
    all_kinds: dict[str, DAG],
) -> None:
    undocumented = {
        task.task_id
        for dag in all_kinds.values()
        for task in dag.tasks
        if not all(part in (task.doc_md or "") for part in ("**May change:**", "**When it fails:**"))
    }
    assert undocumented == set(), "write a section for each in include/docs/tasks.md"


def test_every_section_of_the_documentation_is_about_a_task(all_kinds: dict[str, DAG]) -> None:
    assert set(task_docs()) - {task_id for dag in all_kinds.values() for task_id in dag.task_ids} == set()


def next_run(dag: DAG, after: datetime) -> datetime | None:
    """When Airflow starts a run of a DAG by itself."""
    timetable = SerializedDAG.from_dict(SerializedDAG.to_dict(dag)).timetable
    since = TimeRestriction(earliest=timezone.coerce_datetime(after), latest=None, catchup=True)
    info = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=since)
    return info.run_after if info else None


def test_only_the_dry_run_starts_by_itself_at_night_or_when_the_app_s_file_says(
    dags: dict[str, DAG], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    starts = {dag_id: moment for dag_id, dag in dags.items() if (moment := next_run(dag, noon))}
    assert starts == {"bluegreen_dry_run__my_perl_app": datetime(2026, 11, 2, 3, tzinfo=UTC)}

    good = REFERENCE.read_text(encoding="utf-8")
    other = dags_of(
        tmp_path,
        monkeypatch,
        often=f'{good}\ndry_run_schedule: "*/30 * * * *"\n',
        never=f"{good}\ndry_run_schedule: null\n",
    )
    assert next_run(other["bluegreen_dry_run__often"], noon) == noon
    assert next_run(other["bluegreen_dry_run__never"], noon) is None


def test_what_judges_a_switch_is_not_tried_twice(dags: dict[str, DAG]) -> None:
    for kind in ("deploy", "rollback"):
        assert dags[f"bluegreen_{kind}__my_perl_app"].get_task("final_validation").retries == 0


def test_a_task_that_was_killed_though_nothing_was_wrong_is_tried_again(dags: dict[str, DAG]) -> None:
    for kind, *names in (("deploy", "health_check", "report"), ("rollback", "report"), ("dry_run", "report")):
        for name in names:
            assert dags[f"bluegreen_{kind}__my_perl_app"].get_task(name).retries == 2


def test_a_provisioning_goes_on_whether_a_droplet_lacks_its_release_or_not(dags: dict[str, DAG]) -> None:
    provision = dags["bluegreen_provision__my_perl_app"]
    assert provision.get_task("install_release").upstream_task_ids == {"lock", "color_release"}
    assert provision.get_task("print_fleet").trigger_rule == "none_failed"
    report: Any = provision.get_task("report")
    assert report.may_be_skipped == ["install_release"]


def test_every_task_knows_its_app(dags: dict[str, DAG]) -> None:
    given: dict[str, Any] = {task: {"ip": "198.18.0.1"} for task in ("deploy", "restore")}
    given |= {"wait_for_ssh": {"droplet": {}}, "install_release": {"missing": {}}}
    tasks: list[Any] = [
        task.unmap(given[task.task_id]) if isinstance(task, MappedOperator) else task
        for dag in dags.values()
        for task in dag.tasks
    ]
    known = {task.app_id for task in tasks if task.task_id not in ("judge", "settings")}
    assert known == {"my_perl_app"}


def test_a_dry_run_has_no_task_that_changes_anything(dags: dict[str, DAG]) -> None:
    dry_run = dags["bluegreen_dry_run__my_perl_app"]
    assert sorted(dry_run.task_ids) == ["announce", "check", "report"]
    assert dags["bluegreen_status__my_perl_app"].task_ids == ["status"]


@pytest.mark.parametrize(
    ("told", "subject"),
    [
        (
            {"revision": "0123456789abcdef", "summary": "1 warning"},
            "dry run of main (0123456789ab) (1 warning)",
        ),
        ({"revision": "0123456789abcdef", "error": "1 error"}, "dry run of main (0123456789ab)"),
        ({}, "dry run of main"),
    ],
)
def test_a_dry_run_s_line_names_the_revision_and_what_was_found(
    dags: dict[str, DAG], told: dict[str, str], subject: str
) -> None:
    dag = dags["bluegreen_dry_run__my_perl_app"]
    report: Any = dag.get_task("report")
    template = dag.get_template_env().from_string(report.subject)
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key: told.get(key))
    assert template.render(params={"ref": "main"}, ti=ti) == subject


@pytest.mark.parametrize(
    ("told", "what"),
    [({"ref": "v2"}, "v2"), ({"ref": None, "artifact": "c" * 64}, "artifact cccccccccccc")],
)
def test_a_deploy_s_lines_name_what_it_deploys(
    dags: dict[str, DAG], told: dict[str, str | None], what: str
) -> None:
    dag = dags["bluegreen_deploy__my_perl_app"]
    lock, report, approval, first = (
        dag.get_task(name) for name in ("lock", "report", "approval", "resolve_ref")
    )
    texts: list[Any] = [lock.purpose, report.subject, approval.subject, first.ref]  # type: ignore[union-attr]
    params = {"reason": None, "dry_run": False, "emergency": False, **told}
    rendered = [dag.get_template_env().from_string(text).render(params=params) for text in texts]
    assert rendered == [f"deploy of {what}", f"deploy of {what}", f"Switch {what} live?", told["ref"] or ""]


def test_an_installation_without_an_app_says_where_to_begin_and_shows_nothing_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [dag] = dags_of(tmp_path, monkeypatch).values()
    assert dag.dag_id == "bluegreen_getting_started"
    assert f"Copy `{REFERENCE}` to `{tmp_path}`, as `<app>.yaml`" in (dag.doc_md or "")
    assert "bluegreen_getting_started" not in dags_of(tmp_path, monkeypatch, shop=REFERENCE.read_text())


def test_the_reference_file_is_no_app_and_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(REFERENCE.parent))
    assert list(read_dags().dags) == ["bluegreen_getting_started"]


def test_a_bad_app_file_does_not_take_other_apps_down_and_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = REFERENCE.read_text(encoding="utf-8")
    (tmp_path / "shop.yaml").write_text(good, encoding="utf-8")
    (tmp_path / "broken.yaml").write_text(good.replace("region: nyc3", "regoin: nyc3"), encoding="utf-8")
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    dags = read_dags().dags
    assert dags["bluegreen_deploy__shop"].has_task("switch_traffic")
    broken = dags["bluegreen_deploy__broken"]
    assert broken.task_ids == ["settings"]
    assert "fleet.regoin: unknown key" in (broken.doc_md or "")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("odd", "? [a]\n: b\n", "cannot be a key"),
        ("hasty", "validation: {bake: 30, confirm_within: 20}\n", "at least bake + 10"),
        ("never", "dry_run_schedule: 0 0 31 2 *\n", "there is no such day in any year"),
    ],
)
def test_a_key_or_a_limit_that_is_wrong_does_not_take_other_apps_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, said: str
) -> None:
    good = REFERENCE.read_text(encoding="utf-8")
    (tmp_path / "shop.yaml").write_text(good, encoding="utf-8")
    without = good.replace("\nvalidation:\n", "\n") if text.startswith("validation") else good
    (tmp_path / f"{name}.yaml").write_text(without + text, encoding="utf-8")
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    dags = read_dags().dags
    assert dags["bluegreen_dry_run__shop"].has_task("check")
    assert said in (dags[f"bluegreen_dry_run__{name}"].doc_md or "")


def test_an_app_of_which_no_dag_can_be_made_does_not_take_other_apps_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(app: App) -> DAG:
        if app.id == "odd":
            raise RuntimeError("whatever it is")
        return DAG(f"bluegreen_deploy__{app.id}", schedule=None)

    for name in ("odd", "shop"):
        (tmp_path / f"{name}.yaml").write_bytes(REFERENCE.read_bytes())
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    dags = dags_for_every_app(build, "bluegreen_deploy")
    assert dags["bluegreen_deploy__shop"].task_ids == []
    assert "odd: no DAG comes of it: RuntimeError: whatever it is" in (
        dags["bluegreen_deploy__odd"].doc_md or ""
    )


def test_the_process_of_a_task_makes_the_dag_of_that_task_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "bluegreen_deploy__shop")
    text = REFERENCE.read_text(encoding="utf-8")
    assert list(dags_of(tmp_path, monkeypatch, shop=text, forum=text)) == ["bluegreen_deploy__shop"]


def test_no_task_has_a_copy_of_the_parameters_of_its_dag(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert [task.task_id for task in dag.tasks if task.params] == []
    assert "ref" in dags["bluegreen_deploy__my_perl_app"].params


def test_files_beside_those_of_apps_are_an_import_error_and_take_no_app_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("shop.yaml", "forum.yml", f"{'a' * 250}.yaml", "blog.yaml"):
        (tmp_path / name).write_bytes(REFERENCE.read_bytes())
    monkeypatch.setenv("BLUEGREEN_APPS_DIR", str(tmp_path))
    bag = DagBag(ROOT / "dags")
    [(file, said)] = bag.import_errors.items()
    assert Path(file).name == "bluegreen_app_files.py"
    assert "forum.yml: it is not read, because its name does not end with .yaml" in said
    assert "fleet.tags.app is 'app:my_perl_app' for blog and shop" in said
    assert {"bluegreen_deploy__shop", "bluegreen_status__blog"} <= set(bag.dags)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "0 0 29 2 *", "0 0 L * *", "0 0 * * 5#3", "*/5 0 * * mon"])
def test_airflow_runs_every_schedule_that_an_app_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    text = f'{REFERENCE.read_text(encoding="utf-8")}\ndry_run_schedule: "{schedule}"\n'
    dags = dags_of(tmp_path, monkeypatch, shop=text)
    assert next_run(dags["bluegreen_dry_run__shop"], datetime(2026, 11, 1, 12, tzinfo=UTC)) is not None
