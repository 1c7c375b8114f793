"""Which release a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Callable
from threading import Barrier
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowException, AirflowFailException, DownstreamTasksSkipped

from bluegreen.checks.facts import AppServer
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.operators import previous_release
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.traffic.agent_answers import Probe
from tests.unit.fleets import DIGEST, V1, V2, droplet, facts, released
from tests.unit.fleets import FLEET as ONE_EACH
from tests.unit.repositories import app_of
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

FLEET = ONE_EACH.model_copy(update={"green": (droplet(4, "green-1"), droplet(5, "green-2"))})
LOCK = HeldLock(proxies=FLEET.proxies, tokens={"lb-1": 7}).model_dump(mode="json")
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")
EVERYWHERE = ["198.18.0.4", "198.18.0.5"]


def there(*revisions: str, configuration: str = DIGEST) -> AppServer:
    """A droplet that has a release of each of these revisions; each was healthy there."""
    releases = tuple(map(released, revisions))
    return facts(V2, releases=releases, activated=dict.fromkeys(releases, configuration))


class Ti:
    """A task instance that remembers what was pushed."""

    task_id, run_id = "previous_release", "manual__1"
    map_index = -1

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def go_back(
    monkeypatch: pytest.MonkeyPatch,
    revision: str | None,
    *,
    on_droplets: list[AppServer],
    good: str | None = None,
    running: str | BlueGreenError = V2,
) -> tuple[Any, str | None, list[str], Any]:
    """Return the droplets to activate it on, the revision, the skipped tasks, and what is started."""
    with DAG("rollback", schedule=None) as dag:
        task: Any = previous_release.PreviousReleaseOperator(
            app_id="my_perl_app",
            task_id="previous_release",
            lock=LOCK,
            plan={**PLAN, "good": good},
            activation=["drain", "restore"],
        )
        task >> [EmptyOperator(task_id="drain"), EmptyOperator(task_id="restore")]
    monkeypatch.setattr(type(task), "_claim", lambda self, droplets: None)
    named = dict(zip(["green-1", "green-2"], on_droplets, strict=True))
    monkeypatch.setattr(
        previous_release, "ask_app_server", lambda _app, one: SimpleNamespace(answer=named[one.name])
    )

    def runs(_task: Any, _plan: Plan) -> str:
        if isinstance(running, BlueGreenError):
            raise running
        return running

    monkeypatch.setattr(type(task), "_running", runs)
    ti = Ti()
    try:
        found = task.execute(
            {
                **{"ti": ti, "dag": dag, "params": {"revision": revision}},
                "dag_run": SimpleNamespace(dag_id="rollback", run_id=ti.run_id),
            }
        )
        skipped: list[str] = []
    except DownstreamTasksSkipped as skip:
        found, skipped = ti.pushed["return_value"], [str(one) for one in skip.tasks]
    return found, ti.pushed.get("revision"), skipped, ti.pushed.get("previous")


def test_it_is_what_the_idle_color_runs_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=[facts(V2)] * 2)
    assert found == ([], V2, ["drain", "restore"], None)


def test_what_was_kept_last_there_and_runs_is_only_moved_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=[facts(V2)] * 2, good=V2)
    assert found == ([], V2, ["drain", "restore"], None)


@pytest.mark.parametrize("running", [V2, BlueGreenError("green cannot take the traffic")])
def test_a_release_that_was_never_kept_gets_no_traffic_and_the_one_before_is_started(
    running: str | BlueGreenError, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [there(V1, V2)] * 2
    found = go_back(monkeypatch, None, on_droplets=both, good=V1, running=running)
    assert found[:3] == (EVERYWHERE, V1, [])


Records = list[tuple[str, str]]
LIVE_ONCE: Records = [("refused before the switch", V2), ("live and confirmed", V2)]
TAKEN_BACK: Records = [("live and confirmed", V1), ("rolled back", V2)]


@pytest.fixture(autouse=True)
def both_were_live(monkeypatch: pytest.MonkeyPatch, ledger: Any) -> None:
    """Let tests of something else go back to either release."""
    ledger([("live and confirmed", V1), ("live and confirmed", V2)])


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Callable[[Records], Any]:
    def ledger(records: Records, **policy: Any) -> Any:
        """Let the proxies have these outcomes and revisions on record."""
        app = app_of("https://example.com/shop.git", **policy)
        monkeypatch.setattr(previous_release.PreviousReleaseOperator, "app", app)
        lines = [
            {
                **{"dag_id": "deploy", "run_id": str(number), "trigger": "manual", "triggered_by": "bob"},
                **{"subject": "deploy", "started": None, "outcome": outcome, "revision": revision},
            }
            for number, (outcome, revision) in enumerate(records)
        ]
        hook = create_autospec(ProxyHook, instance=True)
        hook.ledger.return_value = lines
        monkeypatch.setattr(ProxyHook, "of", lambda *_: hook)
        return hook

    return ledger


@pytest.mark.parametrize("approval", ["never", "asked", "always"])
@pytest.mark.parametrize(
    ("records", "good", "goes"),
    [
        ([], V2, True),
        (LIVE_ONCE, None, True),
        (LIVE_ONCE, V1, True),
        (TAKEN_BACK, None, False),
        (TAKEN_BACK, V1, False),
        ([], V1, False),
        ([], None, False),
    ],
)
def test_a_release_that_was_never_live_cannot_be_rolled_back_to_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
    ledger: Any,
    approval: str,
    records: Records,
    good: str | None,
    goes: bool,
) -> None:
    ledger(records, approval=approval)
    both = [there(V1, V2)] * 2
    if goes:
        assert go_back(monkeypatch, V2[:7], on_droplets=both, good=good)[1] == V2
    else:
        with pytest.raises(AirflowFailException, match=r"was never live.*deploy it.*emergency"):
            go_back(monkeypatch, V2[:7], on_droplets=both, good=good)


@pytest.mark.parametrize(
    ("approval", "records", "goes"),
    [
        ("asked", TAKEN_BACK, False),
        ("asked", LIVE_ONCE, True),
        # As on a proxy that is new, which knows of no run.
        ("asked", [], True),
        ("always", [], False),
    ],
)
def test_without_a_name_it_goes_back_to_what_runs_there_unless_a_run_is_known_to_have_failed_with_it(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, approval: str, records: Records, goes: bool
) -> None:
    ledger(records, approval=approval)
    both = [there(V1, V2)] * 2
    if goes:
        assert go_back(monkeypatch, None, on_droplets=both)[1] == V2
    else:
        with pytest.raises(AirflowFailException, match="was never live"):
            go_back(monkeypatch, None, on_droplets=both)


def test_a_release_that_a_later_run_has_found_live_was_live(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    """The run that made it live may have died before its report, or been marked failed."""
    hook = ledger([("failed", V2), ("refused before the switch", V1)])
    hook.ledger.return_value[1]["live_revision"] = V2
    both = [there(V1, V2)] * 2
    assert go_back(monkeypatch, V2, on_droplets=both, good=V1)[1] == V2


def test_the_release_that_was_kept_last_there_needs_no_ledger(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    hook = ledger([], approval="always")
    hook.ledger.side_effect = BlueGreenError("the disk is full")
    assert go_back(monkeypatch, None, on_droplets=[facts(V2)] * 2, good=V2)[1] == V2


def test_a_color_that_is_not_well_is_started_again_if_it_is_known_what_was_kept_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may run that already, but where HAProxy does not look for it, because a setting was changed."""
    unhealthy, both = BlueGreenError("green cannot take the traffic"), [there(V1)] * 2
    assert go_back(monkeypatch, None, on_droplets=both, good=V1, running=unhealthy)[:2] == (EVERYWHERE, V1)
    assert go_back(monkeypatch, V1[:7], on_droplets=both, running=unhealthy)[:2] == (EVERYWHERE, V1)
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=both, good=None, running=unhealthy)
    # Why it is not well matters more than that what was kept is gone.
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=both, good=V2, running=unhealthy)


def test_a_release_that_is_still_there_is_started_everywhere_as_it_was_healthy_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = there(V1, V2), there(V1, V2, configuration="e" * 64)
    found = go_back(monkeypatch, V1[:7], on_droplets=[first, second])
    previous = {"release": released(V1), "configurations": {"green-1": DIGEST, "green-2": "e" * 64}}
    assert found == (EVERYWHERE, V1, [], previous)


def test_a_release_that_was_never_healthy_there_or_is_gone_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = facts(V2, releases=(released(V1), released(V2)), activated={released(V2): DIGEST})
    gone = facts(V2, releases=(released(V2),), activated={released(V1): DIGEST, released(V2): DIGEST})
    for one in (built, gone):
        with pytest.raises(AirflowFailException, match="no release on all droplets of green begins with a"):
            go_back(monkeypatch, V1, on_droplets=[there(V1, V2), one])


def test_all_droplets_are_asked_for_their_releases_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    both = Barrier(2, timeout=5)

    def asked(_app: Any, _droplet: Any) -> Any:
        both.wait()
        return SimpleNamespace(answer=there(V1, V2))

    monkeypatch.setattr(previous_release, "ask_app_server", asked)
    plan = Plan.model_validate(PLAN)
    task: Any = previous_release.PreviousReleaseOperator(
        app_id="my_perl_app", task_id="previous_release", lock=LOCK, plan=PLAN, activation=[]
    )
    monkeypatch.setattr(type(task), "_running", lambda *_: V2)
    revision, previous = task._find(plan, V1)
    assert (revision, previous.release) == (V1, released(V1))


def test_a_release_that_runs_already_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, V1[:7], on_droplets=[there(V1)] * 2, running=V1)
    assert found == ([], V1, ["drain", "restore"], None)


def test_a_proxy_that_could_not_be_asked_says_nothing_about_the_idle_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = DropletUnreachableError("lb-1: the SSH connection was lost")
    with pytest.raises(AirflowException, match="connection was lost") as raised:
        go_back(monkeypatch, V1, on_droplets=[facts(V1, releases=(V1,))] * 2, running=lost)
    assert not isinstance(raised.value, AirflowFailException)


@pytest.mark.parametrize(
    ("server", "answer", "text"),
    [
        ({"port": 9090}, {"status": 404, "revision": V1}, None),
        ({"up": False, "check": "L4CON"}, {"status": 200, "revision": V1}, "green-1 .*is not healthy: L4CON"),
        ({"name": "other"}, {"status": 200, "revision": V1}, "green-1 .*lb-1 does not know it"),
        (
            {},
            {"status": None, "revision": None, "error": "timed out"},
            "green-1 .*does not answer: timed out",
        ),
    ],
    ids=["another port and path than today's", "down", "unknown", "silent"],
)
def test_whether_the_idle_color_is_well_is_haproxy_s_to_say(
    server: dict[str, Any], answer: dict[str, Any], text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"name": "green-1", "address": "10.0.0.4", "port": 8080, "up": True, "check": "L7OK", **server}
    hook = create_autospec(ProxyHook, instance=True)
    hook.name = "lb-1"
    hook.status.return_value = status(servers={"blue": [], "green": [known]})
    hook.probe_all.return_value = [Probe(color=None, milliseconds=1.0, **{"error": None, **answer})]
    monkeypatch.setattr(ProxyHook, "of", lambda *_: hook)
    task: Any = previous_release.PreviousReleaseOperator(
        app_id="my_perl_app", task_id="previous_release", lock=LOCK, plan=PLAN, activation=[]
    )
    plan = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=ONE_EACH)
    if text is None:
        assert task._running(plan) == V1
        assert hook.probe_all.call_args.args == ([("10.0.0.4", 9090)],)
    else:
        with pytest.raises(BlueGreenError, match=text):
            task._running(plan)
