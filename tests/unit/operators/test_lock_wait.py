"""A run that finds its app locked waits for its turn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import lock
from bluegreen.operators.support import base
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.plan import HeldLock
from tests.unit.fleets import LB, droplet
from tests.unit.locking import acquire
from tests.unit.runs import LOST
from tests.unit.statuses import status

REVISION = "a" * 40
LB_2 = droplet(9, "lb-2")
HELD = ProxyError("lb-1: locked by alice, run r1", code="locked")


def names(droplets: Any) -> list[str]:
    return [one.name for one in droplets]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    one = create_autospec(ProxiesHook, instance=True)
    one.of = []
    monkeypatch.setattr(lock, "ProxiesHook", lambda _app, found: one.of.append(names(found)) or one)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.01)
    return one


@pytest.mark.parametrize("unknown", [{"dry_run": True}, {"bake": "x"}, {"emergency": True, "live": "blue"}])
def test_a_run_with_a_parameter_that_its_dag_does_not_have_is_refused(
    hook: Any, unknown: dict[str, Any]
) -> None:
    with pytest.raises(
        BlueGreenError, match=f"deploy has no parameter {next(iter(unknown))}; it has: revision, live"
    ):
        acquire(60, conf=unknown)
    hook.lock.assert_not_called()


@pytest.mark.parametrize(
    "conf",
    [
        None,
        {},
        {"revision": "0123456", "live": None},
        # Airflow adds these by itself.
        {"openlineage": {}, "airflow/task_span_detail_level": 2},
        {"token": 3},
    ],
)
def test_what_a_dag_or_airflow_itself_asks_for_is_no_unknown_parameter(
    hook: Any, conf: dict[str, Any] | None
) -> None:
    hook.lock.return_value = {"lb-1": 7}
    assert acquire(60, conf=conf, conf_keys=["token"])["tokens"] == {"lb-1": 7}


def test_it_waits_until_the_other_run_is_done(hook: Any) -> None:
    hook.lock.side_effect = [HELD, HELD, {"lb-1": 7}]
    assert acquire(60)["tokens"] == {"lb-1": 7}


@pytest.mark.parametrize(("user", "owner"), [("bob", "bob"), (None, "scheduled")])
def test_whoever_finds_the_app_locked_reads_who_or_what_triggered_the_run(
    hook: Any, user: str | None, owner: str
) -> None:
    hook.lock.return_value = {"lb-1": 7}
    acquire(60, user=user)
    told = hook.lock.call_args.kwargs
    assert told["owner"] == told["record_at_start"]["triggered_by"] == owner
    assert told["record_at_start"]["trigger"] == "scheduled"


def test_a_run_that_nobody_waits_for_waits_longer(hook: Any) -> None:
    hook.lock.side_effect = [HELD, HELD, {"lb-1": 7}]
    assert acquire(0, wait=60)["tokens"] == {"lb-1": 7}


def test_it_gives_up_in_the_end_and_names_the_holder(hook: Any) -> None:
    hook.lock.side_effect = HELD
    with pytest.raises(ProxyError, match="locked by alice"):
        acquire(0.1)
    assert hook.lock.call_count > 1


def test_it_does_not_wait_for_what_waiting_does_not_mend(hook: Any) -> None:
    hook.lock.side_effect = ProxyError("lb-1: the agent broke")
    with pytest.raises(ProxyError, match="broke"):
        acquire(60)
    assert hook.lock.call_count == 1


def test_a_lost_connection_does_not_end_a_wait_but_is_not_waited_for(hook: Any) -> None:
    hook.lock.side_effect = [HELD, LOST, HELD, LOST, {"lb-1": 7}]
    assert acquire(60)["tokens"] == {"lb-1": 7}
    hook.lock.side_effect = LOST
    with pytest.raises(DropletUnreachableError):
        acquire(60)


@pytest.mark.parametrize("error", [HELD, LOST, DropletUnreachableError("lb-1 cannot be reached")])
def test_the_report_learns_where_a_run_that_did_not_get_the_lock_is_to_be_recorded(
    hook: Any, monkeypatch: pytest.MonkeyPatch, error: BlueGreenError
) -> None:
    pushed: dict[str, Any] = {}
    monkeypatch.setattr(ThisRun, "push", lambda _run, key, value: pushed.update({key: value}))
    hook.lock.side_effect = error
    with pytest.raises(BlueGreenError):
        acquire(0)
    assert [one["name"] for one in pushed[lock.FOUND_KEY]] == ["lb-1"]


def test_a_proxy_that_came_while_a_run_waited_is_locked_too(hook: Any) -> None:
    hook.lock.side_effect = [HELD, {"lb-1": 7}, {"lb-1": 8, "lb-2": 9}]
    taken = acquire(60, fleets=[(LB,), (LB, LB_2)])
    assert names(HeldLock.model_validate(taken).proxies) == ["lb-1", "lb-2"]
    assert taken["tokens"] == {"lb-1": 8, "lb-2": 9}
    assert hook.of == [["lb-1"], ["lb-1", "lb-2"]]
    # Whoever holds one and asks for another must not wait for somebody who does the same.
    assert [call[0] for call in hook.method_calls] == [*["lock"] * 2, "unlock", "close", "lock", "close"]


def test_provisioning_locks_those_that_it_can_reach(hook: Any) -> None:
    hook.lock.return_value = {}
    assert acquire(60, reachable=False)["proxies"] == []


def test_a_run_that_did_not_wait_asks_digitalocean_once(hook: Any) -> None:
    hook.lock.return_value = {"lb-1": 7}
    acquire(60, fleets=[(LB,), ()])
    assert hook.of == [["lb-1"]]


def test_a_rollback_learns_its_token_past_a_droplet_without_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    blue, stranger = droplet(11, "blue-1"), droplet(12, "no-role")
    asked: list[str] = []
    task = lock.AcquireLockOperator(task_id="lock", app_id="my_perl_app", purpose="rollback", goes_back=True)
    tags = task.app.fleet.tags
    blue = blue.model_copy(update={"tags": (tags.app, tags.blue)})
    stranger = stranger.model_copy(update={"tags": (tags.app,)})
    api = SimpleNamespace(droplets=lambda _tag: [blue, stranger])
    monkeypatch.setattr(base, "DigitalOceanHook", lambda _connection: api)

    def newest(_app: Any, droplets: Any) -> int:
        asked.extend(names(droplets))
        return 41

    monkeypatch.setattr(lock, "newest_token", newest)
    assert task._newest_token_on_droplets() == 41
    assert asked == ["blue-1"]


@pytest.mark.parametrize(("known_as_ended", "taken_over"), [(1, True), (0, False)])
def test_only_a_run_that_is_known_to_have_ended_loses_its_lock(
    hook: Any, known_as_ended: int, taken_over: bool
) -> None:
    context: Any = {"ti": SimpleNamespace(get_dr_count=lambda *_, **__: known_as_ended)}
    assert lock.AcquireLockOperator._is_over(ThisRun(context), "deploy/run-1") is taken_over


def test_a_rollback_takes_no_lock_where_no_deploy_has_been(
    hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = droplet(10, "lb-3").model_copy(update={"status": "new"})
    away = droplet(11, "lb-4")
    said: dict[str, Any] = {
        LB.name: status(),
        LB_2.name: status(None, map_running=None, map_file=None, confirmed=None, moved_at=None),
        away.name: DropletUnreachableError("lb-4 cannot be reached"),
    }

    def say(name: str) -> Any:
        if isinstance(said[name], Exception):
            raise said[name]
        return said[name]

    def of(one: Any, _: Any) -> Any:
        return SimpleNamespace(status=lambda: say(one.name), close=lambda: None)

    monkeypatch.setattr(lock, "ProxyHook", SimpleNamespace(of=of))
    hook.lock.return_value = {}
    everybody = (LB, LB_2, new, away)
    acquire(60, fleets=(everybody,), goes_back=True)
    assert hook.of[-1] == [LB.name, away.name]
    acquire(60, fleets=(everybody,))
    assert hook.of[-1] == [one.name for one in everybody]
    said |= {LB.name: status(reached=[str(LB.public)])}
    acquire(60, fleets=(everybody,), goes_back=True)
    assert hook.of[-1] == [LB.name]
    said = dict.fromkeys(said, said[LB_2.name])
    acquire(60, fleets=((LB, LB_2),), goes_back=True)
    assert hook.of[-1] == [LB.name, LB_2.name]
