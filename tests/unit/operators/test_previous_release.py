"""Which release a rollback by hand goes back to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from bluegreen.release.release import pairing
from bluegreen.run.plan import HeldLock, Plan
from bluegreen.run.previous import HealthyPairing
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.agent_answers import GoodRelease, Probe
from tests.unit.fleets import DIGEST, V1, V2, droplet, facts, healthy, released
from tests.unit.fleets import FLEET as ONE_EACH
from tests.unit.repositories import app_of
from tests.unit.runs import APP
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

FLEET = ONE_EACH.model_copy(update={"green": (droplet(4, "green-1"), droplet(5, "green-2"))})
LOCK = HeldLock(proxies=FLEET.proxies, tokens={"lb-1": 7}).model_dump(mode="json")
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")
NAMES = ("green-1", "green-2")
SKIPPED = ["drain", "restore"]
EVERYWHERE = ["198.18.0.4", "198.18.0.5"]


def there(*revisions: str, configuration: str = DIGEST, name: str = "green-1", **changes: Any) -> AppServer:
    """A droplet that has a release of each of these revisions; each was healthy there."""
    releases = tuple(map(released, revisions))
    address = {"green-1": "198.19.0.4", "green-2": "198.19.0.5"}[name]
    known = [healthy(one, configuration, **{"address": address, **changes}) for one in releases]
    return facts(V2, releases=releases, activated=tuple(known))


def both(*revisions: str, **changes: Any) -> list[AppServer]:
    """Both droplets, with releases of these revisions that were healthy there."""
    return [there(*revisions, name=name, **changes) for name in ("green-1", "green-2")]


def confirmed(revision: str, configuration: str = DIGEST) -> GoodRelease:
    """What the proxies have kept for green."""
    one = healthy(released(revision), configuration)
    about = {"revision": revision, "release": one.release, "configuration": configuration}
    return GoodRelease.model_validate({**about, "pairings": dict.fromkeys(NAMES, one.pairing)})


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
    good: GoodRelease | None = None,
    running: str | BlueGreenError = V2,
    started: Mapping[str, str | None] | None = None,
) -> tuple[Any, str | None, list[str], Any]:
    """Return the droplets to start it on, the revision, the skipped tasks, and what is started.

    :param started: the pairings that the droplets run; default: that of the revision that answers.
    """
    with DAG("rollback", schedule=None) as dag:
        task: Any = previous_release.PreviousReleaseOperator(
            app_id="my_perl_app",
            task_id="previous_release",
            lock=LOCK,
            plan={**PLAN, "good": good and good.model_dump(mode="json")},
            activation=["drain", "restore"],
        )
        task >> [EmptyOperator(task_id="drain"), EmptyOperator(task_id="restore")]
    if started is None:
        started = dict.fromkeys(NAMES, healthy(released(str(running))).pairing)
    monkeypatch.setattr(type(task), "_claim", lambda self, droplets: started)
    named = dict(zip(NAMES, on_droplets, strict=True))
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


def target(
    revision: str, configuration: str = DIGEST, *, confirmed: bool, is_running: bool
) -> dict[str, Any]:
    """What is found, as the XCom ``previous``."""
    one = healthy(released(revision), configuration)
    return {
        "release": one.release,
        "configuration": configuration,
        "pairings": dict.fromkeys(NAMES, one.pairing),
        "confirmed": confirmed,
        "is_running": is_running,
        "from_store": [],
    }


def test_it_is_what_the_idle_color_runs_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V2))
    assert found == ([], V2, SKIPPED, target(V2, confirmed=False, is_running=True))


def test_what_was_kept_last_there_and_runs_is_only_moved_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2))
    assert found == ([], V2, SKIPPED, target(V2, confirmed=True, is_running=True))


@pytest.mark.parametrize("running", [V2, BlueGreenError("green cannot take the traffic")])
def test_a_release_that_was_never_kept_gets_no_traffic_and_the_one_before_is_started(
    running: str | BlueGreenError, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = go_back(monkeypatch, None, on_droplets=both(V1, V2), good=confirmed(V1), running=running)
    assert found[:3] == (EVERYWHERE, V1, [])


@pytest.mark.parametrize("asked_for", [None, V2[:7]])
@pytest.mark.parametrize(
    "other",
    [healthy(released(V2), "e" * 64), healthy(released(V2, "2")), healthy(released(V2), pairing="f" * 64)],
    ids=["configuration", "artifact", "unit"],
)
def test_what_was_rejected_gets_no_traffic_although_it_is_of_the_good_revision(
    monkeypatch: pytest.MonkeyPatch, other: HealthyPairing, asked_for: str | None
) -> None:
    """One of the droplets is enough."""
    has_both = [one.model_copy(update={"activated": (other, *one.activated)}) for one in both(V2)]
    found = go_back(
        monkeypatch,
        asked_for,
        on_droplets=has_both,
        good=confirmed(V2),
        started={"green-1": confirmed(V2).pairings["green-1"], "green-2": other.pairing},
    )
    assert found == (EVERYWHERE, V2, [], target(V2, confirmed=True, is_running=False))


def test_a_droplet_of_which_it_is_not_certain_what_it_runs_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"green-1": confirmed(V2).pairings["green-1"], "green-2": None}
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started=started)
    assert found[:3] == (EVERYWHERE, V2, [])


def test_a_droplet_that_ssh_does_not_reach_keeps_no_traffic_from_going_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = {"green-1": confirmed(V2).pairings["green-1"]}
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started=started)
    assert found[:3] == ([], V2, SKIPPED)


@pytest.mark.parametrize(
    ("later", "moves"),
    [
        ({"to": "green", "outcome": "rolled back", "phases": {"deploy_0": 9.0}}, False),
        ({"to": "green", "outcome": "refused by policy", "phases": {"restore_1": 9.0}}, False),
        ({"outcome": "ended without a report", "found_by": "another"}, False),
        ({"to": "green", "outcome": "refused before the switch", "phases": {"build": 9.0}}, True),
        ({"to": "blue", "outcome": "rolled back", "phases": {"deploy_0": 9.0}}, True),
        ({"to": "green", "outcome": "live and confirmed", "phases": {"deploy_0": 9.0}}, True),
    ],
)
def test_what_ssh_does_not_reach_is_believed_only_if_no_later_run_has_started_something_there(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, later: dict[str, Any], moves: bool
) -> None:
    hook = ledger([("live and confirmed", V2), ("", V2)])
    hook.ledger.return_value[0] |= {"to": "green", "phases": {"deploy_0": 9.0}}
    hook.ledger.return_value[1] |= later
    for number, line in enumerate(hook.ledger.return_value):
        line["ended"] = f"2026-11-0{number + 1}T00:00:00Z"
    found = go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2), started={})
    assert found[0] == ([] if moves else EVERYWHERE)


def test_what_runs_counts_only_if_all_droplets_run_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known to have been confirmed, and each has another configuration."""
    two = [there(V2), there(V2, name="green-2", configuration="e" * 64)]
    started = {name: one.activated[0].pairing for name, one in zip(NAMES, two, strict=True)}
    with pytest.raises(AirflowFailException, match="do not all run one release with one configuration"):
        go_back(monkeypatch, None, on_droplets=two, started=started)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"port": 5000}, r"green-1: b{12} listened on port 5000, and HAProxy looks for it on 8080 now"),
        ({"address": "198.19.0.9"}, r"green-1: b{12} listened on 198.19.0.9, and the private address is"),
        (
            {"pairing": "f" * 64},
            "green-1, green-2: b{12} is not there any more, and the artifact store .* does",
        ),
    ],
)
def test_what_cannot_be_started_as_it_was_confirmed_is_not_started_in_another_way(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(AirflowFailException, match=text) as raised:
        go_back(
            monkeypatch, None, on_droplets=both(V2, **changes), good=confirmed(V2), running=V1, started={}
        )
    assert "deploy it instead" in str(raised.value)


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Let the artifact store have whatever is asked for; return what that is."""
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(previous_release, "stored_release", lambda _store, *about: asked.append(about))
    return asked


def now(name: str, revision: str = V2) -> str:
    """The pairing of a release on a droplet, with the unit that the settings of now give."""
    [one] = [one for one in FLEET.green if one.name == name]
    return pairing(load_app(APP), released(revision), DIGEST, str(one.private)).digest


TROUBLE = BlueGreenError("green cannot take the traffic: green-1 is not healthy: lb-1 does not know it")


@pytest.mark.usefixtures("proxies")
def test_droplets_that_were_all_replaced_get_what_was_confirmed_from_the_artifact_store(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    known = confirmed(V2)
    empty = [facts(None), facts(None)]
    started = dict.fromkeys(NAMES)
    found = go_back(monkeypatch, None, on_droplets=empty, good=known, running=TROUBLE, started=started)
    assert found[:3] == (EVERYWHERE, V2, [])
    assert found[3]["from_store"] == list(NAMES)
    assert found[3]["pairings"] == {name: now(name) for name in NAMES}
    assert stored == [(known.release, known.configuration)]


@pytest.mark.usefixtures("proxies")
def test_one_that_was_replaced_gets_it_from_the_store_and_the_other_starts_what_it_has(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    known = confirmed(V2).model_copy(update={"pairings": {"green-1": confirmed(V2).pairings["green-1"]}})
    two = [there(V2), facts(None)]
    found = go_back(monkeypatch, None, on_droplets=two, good=known, running=V1, started={})
    assert found[3]["from_store"] == ["green-2"]
    assert found[3]["pairings"] == {"green-1": known.pairings["green-1"], "green-2": now("green-2")}


@pytest.mark.usefixtures("proxies")
def test_what_provisioning_has_started_on_a_replaced_droplet_counts_as_what_was_confirmed(
    monkeypatch: pytest.MonkeyPatch, stored: list[tuple[str, str]]
) -> None:
    started = {name: now(name) for name in NAMES}
    two = [there(V2, name=name, pairing=now(name)) for name in NAMES]
    found = go_back(monkeypatch, None, on_droplets=two, good=confirmed(V2), running=V2, started=started)
    assert found[:3] == ([], V2, SKIPPED)
    assert (found[3]["pairings"], stored) == (started, [])


@pytest.mark.usefixtures("proxies")
def test_without_the_artifact_the_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = [facts(None), facts(None)]
    why = r"green cannot take .*; green-1, green-2: b{12} is not there any more, and the .*; deploy it"
    with pytest.raises(AirflowFailException, match=why):
        go_back(monkeypatch, None, on_droplets=empty, good=confirmed(V2), running=TROUBLE, started={})


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
                **{"release": released(revision), "configuration": DIGEST},
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
    if goes:
        assert (
            go_back(monkeypatch, V2[:7], on_droplets=both(V1, V2), good=confirmed(good) if good else None)[1]
            == V2
        )
    else:
        with pytest.raises(AirflowFailException, match=r"was never live.*deploy it.*emergency"):
            go_back(monkeypatch, V2[:7], on_droplets=both(V1, V2), good=confirmed(good) if good else None)


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
    if goes:
        assert go_back(monkeypatch, None, on_droplets=both(V1, V2))[1] == V2
    else:
        with pytest.raises(AirflowFailException, match="was never live"):
            go_back(monkeypatch, None, on_droplets=both(V1, V2))


def test_a_revision_that_was_live_with_another_configuration_only_was_never_live_with_this_one(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    ledger(LIVE_ONCE)
    other = both(V1, V2, configuration="e" * 64)
    with pytest.raises(AirflowFailException, match=r"b{12} was never live with the configuration e{12}"):
        go_back(monkeypatch, V2, on_droplets=other, good=confirmed(V1))


def test_what_a_droplet_knows_as_confirmed_was_live_though_the_run_died_before_its_report(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    ledger([("failed", V2)])
    known = both(V1, V2, confirmed=True)
    found = go_back(monkeypatch, V2, on_droplets=known, good=confirmed(V1), running=V1)
    assert found == (EVERYWHERE, V2, [], target(V2, confirmed=True, is_running=False))


def test_the_release_that_was_kept_last_there_needs_no_ledger(
    monkeypatch: pytest.MonkeyPatch, ledger: Any
) -> None:
    hook = ledger([], approval="always")
    hook.ledger.side_effect = BlueGreenError("the disk is full")
    assert go_back(monkeypatch, None, on_droplets=both(V2), good=confirmed(V2))[1] == V2


def test_a_color_that_is_not_well_is_started_again_if_it_is_known_what_was_kept_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may run that already, but where HAProxy does not look for it, because a setting was changed."""
    unhealthy, known = BlueGreenError("green cannot take the traffic"), both(V1)
    found = go_back(monkeypatch, None, on_droplets=known, good=confirmed(V1), running=unhealthy)
    assert found[:2] == (EVERYWHERE, V1)
    assert go_back(monkeypatch, V1[:7], on_droplets=known, running=unhealthy)[:2] == (EVERYWHERE, V1)
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=known, good=None, running=unhealthy)
    # Why it is not well matters more than that what was kept is gone.
    with pytest.raises(AirflowFailException, match="green cannot take the traffic"):
        go_back(monkeypatch, None, on_droplets=known, good=confirmed(V2), running=unhealthy)


def test_a_release_that_was_never_healthy_there_or_is_gone_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AirflowFailException, match="no release on all droplets of green begins with a"):
        go_back(monkeypatch, V1, on_droplets=[there(V1, V2), there(V2, name="green-2")])


def test_all_droplets_are_asked_for_their_releases_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    all_asked = Barrier(2, timeout=5)

    def asked(_app: Any, droplet: Any) -> Any:
        all_asked.wait()
        return SimpleNamespace(answer=there(V1, V2, name=droplet.name))

    monkeypatch.setattr(previous_release, "ask_app_server", asked)
    plan = Plan.model_validate(PLAN)
    task: Any = previous_release.PreviousReleaseOperator(
        app_id="my_perl_app", task_id="previous_release", lock=LOCK, plan=PLAN, activation=[]
    )
    monkeypatch.setattr(type(task), "_running", lambda *_: V2)
    previous = task._find(plan, V1, {})
    assert (previous.revision, previous.release) == (V1, released(V1))


def test_a_release_that_runs_already_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = go_back(monkeypatch, V1[:7], on_droplets=both(V1), running=V1)
    assert found == ([], V1, SKIPPED, target(V1, confirmed=False, is_running=True))


def test_a_proxy_that_could_not_be_asked_says_nothing_about_the_idle_color(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = DropletUnreachableError("lb-1: the SSH connection was lost")
    with pytest.raises(AirflowException, match="connection was lost") as raised:
        go_back(monkeypatch, V1, on_droplets=both(V1), running=lost)
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


@pytest.mark.parametrize(("asked_for", "good"), [(None, V2), (V2, V1)])
def test_a_release_from_before_a_contract_is_not_gone_back_to(
    monkeypatch: pytest.MonkeyPatch, ledger: Any, asked_for: str | None, good: str
) -> None:
    hook = ledger(LIVE_ONCE)
    contract = {
        **{"dag_id": "bluegreen_contract__shop", "run_id": "run-7", "trigger": "manual", "started": None},
        **{"triggered_by": "bob", "subject": "contract", "ended": "2099-11-30T12:34:00Z"},
        "contracted": True,
    }
    hook.ledger.return_value = [*hook.ledger.return_value, contract]
    expected = r"b{12} was last live before the contract of 2099-11-30 12:34 UTC \(run run-7\)"
    with pytest.raises(AirflowFailException, match=expected):
        go_back(monkeypatch, asked_for, on_droplets=both(V1, V2), good=confirmed(good))
