"""Which proxies a rollback goes on without."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.reached import not_reached
from tests.unit.fleets import FLEET, droplet
from tests.unit.local_haproxy import Deployed
from tests.unit.provision import Check
from tests.unit.proxy_members import both, member
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

ONE, TWO, ADDED = (droplet(number, f"lb-{number}") for number in (1, 2, 3))
AWAY = BlueGreenError("lb-3 cannot be reached")


def knows(*reached: Droplet) -> ProxyStatus:
    return status(reached=[str(one.public) for one in reached])


def test_a_silent_proxy_that_no_other_proxy_knows_is_not_reached_yet() -> None:
    assert not_reached({ONE: knows(ONE, TWO), TWO: knows(ONE, TWO), ADDED: AWAY}) == [ADDED]


def test_a_silent_proxy_that_one_of_the_others_knows_may_serve_clients() -> None:
    assert not_reached({ONE: knows(ONE, TWO), TWO: knows(ONE, TWO, ADDED), ADDED: AWAY}) == []


@pytest.mark.parametrize(
    ("one", "added"),
    [
        (status(), ADDED),
        (AWAY, ADDED),
        (knows(ONE), ADDED.model_copy(update={"public": None})),
    ],
    ids=["nobody has noted it", "nobody answers", "its address is not known"],
)
def test_a_silent_proxy_counts_as_reached_if_the_others_have_no_note(one: Any, added: Droplet) -> None:
    assert not_reached({ONE: one, added: AWAY}) == []


def test_if_no_deploy_has_reached_any_none_is_left_out() -> None:
    empty = status(None, map_running=None, map_file=None, confirmed=None, moved_at=None)
    assert not_reached({ONE: empty, TWO: empty}) == []
    assert not_reached({ONE: empty, TWO: knows(TWO), ADDED: AWAY}) == [ONE, ADDED]


def test_a_rollback_goes_on_without_a_proxy_that_was_added_and_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Check(monkeypatch, goes_back=True)
    added = droplet(9, "lb-9")
    check.fleet = FLEET.model_copy(update={"proxies": (*FLEET.proxies, added)})
    known = knows(*FLEET.proxies)
    check.statuses = {"lb-1": known, "lb-2": known, "lb-9": AWAY}
    assert check.run() == ["198.18.0.4"]
    assert [one["name"] for one in check.said["plan"]["fleet"]["proxies"]] == ["lb-1", "lb-2"]


def test_before_a_configuration_is_installed_anywhere_all_proxies_know_of_all(
    deployed: Deployed,
) -> None:
    assert deployed.status()["reached"] is None
    request = deployed.sync_request(deployed.world.render())
    deployed.world.ok("sync", **request, prepare_only=True, peers=["198.18.0.2", "198.18.0.1"])
    assert deployed.status()["reached"] == ["198.18.0.1", "198.18.0.2"]
    deployed.world.ok("sync", **request, peers=["198.18.0.3"])
    deployed.switch(Color.GREEN)
    reached = ProxyStatus.parse(deployed.status()).reached
    assert reached == frozenset(f"198.18.0.{one}" for one in (1, 2, 3))


def test_each_proxy_gets_the_addresses_of_all_even_if_there_is_only_one() -> None:
    asked: list[dict[str, Any]] = []

    def call(_verb: str, **request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"changed": True}

    first = member("lb-1")
    first.peer_address, first.call.side_effect = "198.18.0.1", call
    hook = both(first, member("lb-2"))
    hook.members = [first]
    assert hook.sync("config", Color.BLUE, Color.GREEN) == ["lb-1"]
    assert asked[0]["peers"] == ["198.18.0.1"]
