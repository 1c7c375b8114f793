"""When the old color is stopped, and when it is left alone."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, create_autospec

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from agent.protocol import Code, Verb
from bluegreen.checks import drift, health
from bluegreen.checks.facts import Unit
from bluegreen.color import Color
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.fleet.droplets import Fleet
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE, DropletUnreachableError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators.stop_idle import StopIdleLaterOperator, StopIdleOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.release.stop_idle import seconds_left
from bluegreen.run.plan import HeldLock
from bluegreen.settings.app_file import load_app
from bluegreen.settings.timeouts import Timeouts
from tests.unit.dag_files import REFERENCE, dags_of
from tests.unit.facts import facts, server
from tests.unit.fleets import FLEET, droplet
from tests.unit.runs import context
from tests.unit.statuses import status

AFTER = 3600
LOCK = HeldLock(proxies=FLEET.proxies, tokens={"lb-1": 7}).model_dump(mode="json")
SETTING = REFERENCE.read_text(encoding="utf-8").replace(
    "# stop_idle_after: null", f"stop_idle_after: {AFTER}"
)


def app(drain: int = 120) -> Any:
    plain = load_app("my_perl_app")
    server = plain.server.model_copy(update={"stop_idle_after": AFTER})
    timeouts = plain.timeouts.model_copy(update={"drain": drain})
    return plain.model_copy(update={"server": server, "timeouts": timeouts})


def confirmed(age: float, **changes: Any) -> Any:
    """Return the status of a proxy on which green was confirmed so long ago."""
    known = {"color": "green", "revision": "a" * 40, "run_id": "deploy/1", "at": 1000.0, "token": 7}
    return status(Color.GREEN, confirmed=known, now=1000.0 + age, **changes)


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the task against proxies that say this; return what it said, and the droplets it stopped.

    It follows the run with the token ``after``, or was triggered by hand.
    """

    def stop(
        *statuses: Any,
        trouble: Exception | None = None,
        fleet: Fleet = FLEET,
        drain: int = 120,
        after: int | None = None,
    ) -> tuple[str, list[str], Any]:
        hook = create_autospec(ProxiesHook, instance=True, app=app())
        hook.statuses.return_value = {f"lb-{number}": one for number, one in enumerate(statuses, 1)}
        stopped: list[str] = []

        def of(droplet: Any, _: Any) -> Any:
            assert not droplet.off

            def call(verb: Verb, **request: Any) -> dict[str, Any]:
                assert len(stopped) < hook.require_idle.call_count * CONNECTIONS_AT_ONCE
                assert (verb, request) == (Verb.STOP, {"app": "app-my_perl_app", "token": 7})
                if trouble:
                    raise trouble
                stopped.append(droplet.name)
                return {"stopped": True}

            return MagicMock(call=call)

        monkeypatch.setattr(DropletAgentHook, "of", of)
        task = StopIdleOperator(app_id="my_perl_app", task_id="stop_idle", lock=LOCK)
        task.__dict__["app"] = app(drain)
        monkeypatch.setattr(StopIdleOperator, "read_fleet", lambda _: fleet)
        monkeypatch.setattr(StopIdleOperator, "proxies", lambda _: hook)
        conf = None if after is None else {"token": after}
        run: Any = {"dag_run": SimpleNamespace(conf=conf)}
        return task.act(ThisRun(run)), stopped, hook

    return stop


def test_the_color_that_is_not_live_is_stopped_when_its_time_is_over(stop: Any) -> None:
    said, stopped, hook = stop(confirmed(AFTER + 1))
    assert (said, stopped) == ("blue is stopped; a rollback starts it again", ["blue-1"])
    hook.require_idle.assert_called_once_with(Color.BLUE)


def test_a_switch_that_was_confirmed_since_has_a_stop_of_its_own(stop: Any) -> None:
    said, stopped, _ = stop(confirmed(AFTER + 1), confirmed(AFTER / 2))
    assert said.startswith("traffic has moved since, so blue stays warm until ")
    assert stopped == []


def test_a_clock_that_was_put_right_meanwhile_keeps_nothing_warm_for_ever(stop: Any) -> None:
    assert stop(confirmed(AFTER - 10))[1] == ["blue-1"]


@pytest.mark.parametrize("clock", [-3600, 0, AFTER + 1])
@pytest.mark.parametrize(
    ("token", "stopped"),
    [(7, ["blue-1"]), (8, ["blue-1"]), (6, [])],
    ids=["its own switch was the last", "it has not switched", "another has switched since"],
)
def test_a_stop_knows_by_its_token_whether_it_is_still_its_turn_whatever_a_clock_says(
    stop: Any, clock: int, token: int, stopped: list[str]
) -> None:
    said, found, _ = stop(confirmed(clock), after=token)
    assert found == stopped
    waits = "deploy/1 has switched since; blue stays warm until the stop that follows it"
    assert stopped or said == waits


def taken_back(age: float, token: int) -> Any:
    """Return the status of a proxy on which a switch to blue was taken back so long ago."""
    revert = {
        "from": "blue",
        "to": "green",
        "at": 9000.0,
        "reason": "x",
        "run_id": "deploy/2",
        "token": token,
    }
    return confirmed(8000.0 + age, last_revert=revert, moved_at=9000.0)


@pytest.mark.parametrize(("token", "stopped"), [(7, []), (8, ["blue-1"])], ids=["earlier", "its own"])
def test_requests_of_a_bake_that_failed_are_not_cut_by_the_stop_that_an_earlier_switch_has_ordered(
    stop: Any, token: int, stopped: list[str]
) -> None:
    assert stop(taken_back(1, token=8), after=token)[1] == stopped


def test_a_stop_by_hand_counts_from_when_traffic_came_back(stop: Any) -> None:
    assert stop(taken_back(1, token=8))[1] == []
    assert stop(taken_back(AFTER + 1, token=8))[1] == ["blue-1"]


def test_nothing_is_stopped_while_a_switch_is_undecided(stop: Any) -> None:
    pending = {"from": "blue", "to": "green", "revision": "a" * 40, "run_id": "deploy/2", "deadline": 2000.0}
    with pytest.raises(BlueGreenError, match="a switch to green that is not decided, by deploy/2; nothing"):
        stop(confirmed(AFTER + 1), confirmed(AFTER + 1, pending=pending))


def test_nothing_is_stopped_if_it_is_not_known_who_is_live(stop: Any) -> None:
    with pytest.raises(BlueGreenError):
        stop(confirmed(AFTER + 1), status(Color.BLUE))


def test_nothing_is_stopped_before_the_first_deploy(stop: Any) -> None:
    assert stop(status(None))[:2] == ("nothing is live, so nothing was stopped", [])


def test_nothing_is_stopped_if_nobody_knows_since_when_it_is_idle(stop: Any) -> None:
    with pytest.raises(BlueGreenError, match="nothing was stopped"):
        stop(status(Color.GREEN, confirmed=None))


def test_a_droplet_that_does_not_stop_is_named(stop: Any) -> None:
    with pytest.raises(BlueGreenError, match=r"^blue-1: gone"):
        stop(confirmed(AFTER + 1), trouble=AgentRefusedError("blue-1: gone"))


@pytest.mark.parametrize(
    ("drain", "stopped"), [(7200, []), (120, ["blue-1"])], ids=["a deploy waits for it", "it is given up"]
)
def test_a_request_that_a_deploy_would_wait_for_is_not_cut(
    stop: Any, drain: int, stopped: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    download = confirmed(AFTER + 1, sessions={"blue": 1, "green": 0})
    assert stop(download, drain=drain)[1] == stopped
    assert ("1 request on blue is given up" in capsys.readouterr().out) is bool(stopped)


def test_trouble_that_passes_is_retried(stop: Any) -> None:
    with pytest.raises(DropletUnreachableError) as raised:
        stop(confirmed(AFTER + 1), trouble=DropletUnreachableError("blue-1: no answer"))
    assert raised.value.transient


def test_a_token_that_no_proxy_gave_keeps_no_color_warm_for_ever(stop: Any) -> None:
    newer = "another run has claimed this droplet since (its token 8000 is newer than 7); nothing was stopped"
    with pytest.raises(BlueGreenError, match="a new run is let in"):
        stop(confirmed(AFTER + 1), trouble=AgentRefusedError(f"blue-1: {newer}", Code.CLAIMED))


def test_that_a_color_is_idle_is_asked_again_before_each_few_of_many_droplets(stop: Any) -> None:
    many = tuple(droplet(number, f"blue-{number}") for number in range(2 * CONNECTIONS_AT_ONCE))
    _, stopped, hook = stop(confirmed(AFTER + 1), fleet=FLEET.model_copy(update={"blue": many}))
    assert len(stopped) == len(many)
    assert hook.require_idle.call_count == 2


def test_a_droplet_that_is_off_is_named_because_its_app_starts_with_it(stop: Any) -> None:
    off = droplet(5, "blue-2").model_copy(update={"status": "off"})
    said, stopped, _ = stop(confirmed(AFTER + 1), fleet=FLEET.model_copy(update={"blue": (*FLEET.blue, off)}))
    assert said == (
        "blue is stopped; a rollback starts it again; not on blue-2, which is off: there the app starts with "
        "the droplet"
    )
    assert stopped == ["blue-1"]


def test_proxies_that_are_new_do_not_count() -> None:
    assert seconds_left([confirmed(600), status(Color.GREEN, confirmed=None)], AFTER) == AFTER - 600


def test_the_stop_is_a_run_of_airflow_s_that_waits_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(
        "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator._trigger_dag_af_3",
        lambda self, **how: made.update(how),
    )
    task = StopIdleLaterOperator(app_id="my_perl_app", task_id="stop_idle_later", seconds=AFTER, lock=LOCK)
    run: Any = SimpleNamespace(dag_id="deploy", run_id="r", try_number=1, xcom_push=lambda **_: None)
    task.execute({"ti": run, "dag_run": run, "dag": DAG("deploy", schedule=None)})
    assert task.trigger_dag_id == "bluegreen_stop_idle__my_perl_app"
    assert made["parsed_logical_date"] is None
    assert task.conf == {"token": 7}
    due = made["parsed_run_after"] - datetime.now(UTC)
    assert timedelta(seconds=AFTER - 60) < due <= timedelta(seconds=AFTER)


@pytest.mark.parametrize(
    ("states", "unmoved", "stops"),
    [
        ({"confirm": "success", "rollback": "skipped", "freeze": "skipped"}, None, True),
        ({"confirm": "skipped", "rollback": "success", "freeze": "skipped"}, None, True),
        ({"confirm": "skipped", "rollback": "failed", "freeze": "skipped"}, None, True),
        # What an attempt before has left, which was cleared.
        ({"confirm": "success", "rollback": "skipped", "freeze": "skipped"}, False, True),
        ({"confirm": "skipped", "rollback": "skipped", "freeze": "success"}, True, True),
        ({"confirm": "skipped", "rollback": "skipped", "freeze": "success"}, False, False),
        ({"confirm": "skipped", "rollback": "skipped", "freeze": "success"}, None, False),
        ({"confirm": "skipped", "rollback": "skipped", "freeze": "failed"}, None, False),
    ],
)
def test_after_a_freeze_the_idle_color_is_stopped_only_if_traffic_has_not_moved(
    states: dict[str, str], unmoved: bool | None, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator._trigger_dag_af_3",
        lambda self, **how: made.append(how),
    )
    task = StopIdleLaterOperator(app_id="my_perl_app", task_id="stop_idle_later", seconds=AFTER, lock=LOCK)
    run = context(states, freeze__unmoved=unmoved)
    run["ti"].try_number = 1
    with nullcontext() if stops else pytest.raises(AirflowSkipException, match="stays warm"):
        task.execute(run)
    assert bool(made) is stops


def run_id_of_stop(monkeypatch: pytest.MonkeyPatch, run_id: str, attempt: int = 1) -> str:
    made: dict[str, Any] = {}
    monkeypatch.setattr(
        "airflow.providers.standard.operators.trigger_dagrun.TriggerDagRunOperator._trigger_dag_af_3",
        lambda self, **how: made.update(how),
    )
    task = StopIdleLaterOperator(app_id="my_perl_app", task_id="stop_idle_later", seconds=AFTER, lock=LOCK)
    ti = MagicMock(dag_id="bluegreen_deploy__my_perl_app", run_id=run_id, try_number=attempt)
    task.execute({"ti": ti, "dag_run": ti, "dag": DAG("deploy", schedule=None)})
    return str(made["run_id"])


def test_a_stop_s_run_is_named_after_its_deploy_s_however_long_that_name_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = [f"ci__{'x' * 240}{end}" for end in ("a", "b")]
    names = {run_id_of_stop(monkeypatch, one, attempt) for one in long for attempt in (1, 2)}
    assert len(names) == 4
    assert max(map(len, names)) <= 250
    short = run_id_of_stop(monkeypatch, "ci__7")
    assert short.startswith("after__bluegreen_deploy__my_perl_app__ci__7__")


@pytest.fixture
def with_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, DAG]:
    return dags_of(tmp_path, monkeypatch, shop=SETTING, plain=REFERENCE.read_text(encoding="utf-8"))


def test_the_stop_waits_for_the_lock_as_long_as_a_deploy_may_wait_for_its_approval(
    with_setting: dict[str, DAG],
) -> None:
    lock: Any = with_setting["bluegreen_stop_idle__shop"].get_task("lock")
    limits = Timeouts()
    assert lock.wait >= limits.approval + limits.build


def test_only_apps_with_the_setting_have_the_dag_and_the_task(with_setting: dict[str, DAG]) -> None:
    assert with_setting["bluegreen_stop_idle__shop"].task_ids == ["lock", "stop_idle", "report", "announce"]
    assert "bluegreen_stop_idle__plain" not in with_setting
    for kind in ("deploy", "rollback"):
        assert "stop_idle_later" not in with_setting[f"bluegreen_{kind}__plain"].task_ids
        later = with_setting[f"bluegreen_{kind}__shop"].get_task("stop_idle_later")
        # What a deploy has started comes to rest, too, if it was taken back, or never went live.
        assert later.upstream_task_ids == {"confirm", "rollback"}
        # Airflow skips the one that the judge does not choose, and both if nothing was done.
        assert later.trigger_rule == "one_done"
        assert later.downstream_task_ids == {"report"}


def findings(**changes: Any) -> list[str]:
    """What the checks say about services, in which a unit's text plays no part."""
    found = facts(**changes)
    said = [str(one) for one in (*health.serving(found), *drift.units(found))]
    return [one for one in said if "it is not there" not in one and "differs" not in one]


def test_a_color_that_was_stopped_on_purpose_is_no_finding() -> None:
    stopped = server(unit=Unit(ActiveState="inactive", UnitFileState="disabled"))
    assert findings(app=app(), servers={"blue-1": server(), "green-1": stopped}) == []
    assert findings(servers={"blue-1": server(), "green-1": stopped}) != []


@pytest.mark.parametrize("unit", [("failed", "disabled"), ("inactive", "enabled"), ("failed", "enabled")])
def test_a_color_that_stopped_by_itself_is_a_finding(unit: tuple[str, str]) -> None:
    fallen = server(unit=Unit(ActiveState=unit[0], UnitFileState=unit[1]))
    assert findings(app=app(), servers={"blue-1": server(), "green-1": fallen}) != []


def test_a_live_color_that_is_stopped_is_always_a_finding() -> None:
    stopped = server(unit=Unit(ActiveState="inactive", UnitFileState="disabled"))
    assert findings(app=app(), servers={"blue-1": stopped, "green-1": server()}) != []
