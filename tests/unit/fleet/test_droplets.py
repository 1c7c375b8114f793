"""Which droplets are whose, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet, droplet_names
from bluegreen.fleet.host_keys import generate
from bluegreen.hooks.digitalocean import DigitalOceanHook
from bluegreen.operators.status import StatusOperator
from bluegreen.settings.app_file import load_app
from bluegreen.settings.fleet import Tags

TAGS = Tags(app="app:shop")


def api_droplet(number: int, *tags: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"shop-{number}",
        "status": "active",
        "networks": {
            "v4": [
                {"type": "public", "ip_address": f"198.18.0.{number}"},
                {"type": "private", "ip_address": f"198.19.0.{number}"},
            ]
        },
        "tags": ["app:shop", *tags],
        **changes,
    }


def fleet_of(*droplets: dict[str, Any]) -> Fleet:
    return Fleet.of([Droplet.from_api(one) for one in droplets], TAGS)


def test_a_droplet_has_one_json_whatever_the_order_of_its_tags() -> None:
    tags = [f"tag:{number}" for number in range(100)]
    droplet, read_back = (Droplet.from_api(api_droplet(1, *some)) for some in (tags, tags[::-1]))
    assert droplet.model_dump_json() == read_back.model_dump_json()


WHOLE = (
    api_droplet(1, "role:loadbalancer"),
    api_droplet(2, "env:blue"),
    api_droplet(3, "env:green"),
)


def test_droplets_are_sorted_into_roles_by_their_tags() -> None:
    fleet = fleet_of(*WHOLE)
    assert [one.name for one in fleet.proxies] == ["shop-1"]
    assert [one.name for one in fleet.color(Color.BLUE)] == ["shop-2"]
    assert [one.name for one in fleet.color(Color.GREEN)] == ["shop-3"]
    assert fleet.problems() == []


def with_network(number: int, mask: str | None) -> dict[str, Any]:
    private = {"type": "private", "ip_address": f"10.9.{number}.7", **({"netmask": mask} if mask else {})}
    return api_droplet(number, "role:loadbalancer", networks={"v4": [private]})


def test_the_proxies_network_is_known_by_their_addresses() -> None:
    fleet = fleet_of(with_network(1, "255.255.240.0"), with_network(2, "255.255.240.0"))
    assert str(fleet.network) == "10.9.0.0/20"


@pytest.mark.parametrize("mask", [None, "255.255.255.0"])
def test_proxies_in_several_networks_or_in_an_unknown_one_are_named(mask: str | None) -> None:
    fleet = fleet_of(with_network(1, mask), with_network(2, mask))
    with pytest.raises(FleetError, match=r"one VPC network only \(shop-1: (None|10.9.1.0/24), shop-2: "):
        _ = fleet.network


def test_a_droplet_of_both_colors_or_of_none_is_named() -> None:
    with pytest.raises(
        FleetError, match=r"shop-4 must have one of the tags .*it has none.*shop-5 .*env:blue, env:green"
    ):
        fleet_of(*WHOLE, api_droplet(4), api_droplet(5, "env:blue", "env:green"))


def test_a_rollback_leaves_out_droplets_without_a_role(monkeypatch: pytest.MonkeyPatch) -> None:
    unfit = (api_droplet(4), api_droplet(5, "env:blue", "env:green"))
    droplets = [Droplet.from_api(one) for one in (*WHOLE, *unfit)]
    monkeypatch.setattr(DigitalOceanHook, "droplets", lambda *_: droplets)
    task = StatusOperator(task_id="status", app_id="my_perl_app")
    fleet = task.read_fleet(goes_back=True)
    assert [one.name for one in fleet.droplets] == ["shop-1", "shop-2", "shop-3"]
    with pytest.raises(FleetError, match="shop-4 must have one of the tags"):
        task.read_fleet()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"status": "off"}, "shop-3 is 'off' instead of active"),
        ({"networks": {"v4": []}}, "shop-3 has no private address; it must be in the VPC"),
        ({"networks": {}}, "shop-3 has no public address"),
        ({"name": "shop-2"}, "2 droplets are named shop-2"),
    ],
)
def test_each_problem_of_a_droplet_is_named(changes: dict[str, Any], expected: str) -> None:
    problems = fleet_of(*WHOLE[:2], api_droplet(3, "env:green", **changes)).problems()
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"status": "off"}, "power it on"),
        ({"status": "off", "locked": True}, "DigitalOcean is at work on it"),
        ({"status": "new", "locked": True}, "DigitalOcean is at work on it"),
        ({"status": "archive"}, "restore it in DigitalOcean's panel"),
    ],
)
def test_what_to_do_depends_on_why_a_droplet_is_not_active(changes: dict[str, Any], advice: str) -> None:
    [problem] = Droplet.from_api(api_droplet(3, **changes)).problems
    assert problem.startswith(f"shop-3 is '{changes['status']}' instead of active; {advice}")


def test_a_droplet_that_is_resized_while_it_runs_is_as_good_as_any() -> None:
    assert Droplet.from_api(api_droplet(3, locked=True)).problems == []


def private(*addresses: str) -> dict[str, Any]:
    return {"v4": [{"type": "private", "ip_address": one, "netmask": "255.255.255.0"} for one in addresses]}


def test_of_several_private_networks_the_one_counts_that_the_fleet_shares() -> None:
    fleet = fleet_of(
        api_droplet(1, "role:loadbalancer", networks=private("10.0.0.1")),
        api_droplet(2, "env:blue", networks=private("10.7.0.2", "10.0.0.2")),
        api_droplet(3, "env:green", networks=private("10.0.0.3", "10.7.0.3", "10.8.0.3")),
    )
    assert [str(one.private) for one in fleet.droplets] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert {str(one.network) for one in fleet.droplets} == {"10.0.0.0/24"}


def test_a_tag_is_the_same_however_it_is_written() -> None:
    fleet = fleet_of(api_droplet(1, "Role:LoadBalancer"), api_droplet(2, "ENV:blue"), WHOLE[2])
    assert fleet.problems() == []


def test_a_color_without_droplets_is_a_problem() -> None:
    assert "there is no droplet for green; run the provision DAG" in fleet_of(*WHOLE[:2]).problems()


def test_the_host_key_recorded_as_a_tag_is_found() -> None:
    key = generate()
    assert Droplet.from_api(api_droplet(1, key.tag)).host_key == key.public
    assert Droplet.from_api(api_droplet(1)).host_key is None


@pytest.mark.parametrize("tags", [["hostkey:ed25519:zz"], ["hostkey:ed25519:00"]])
def test_a_host_key_that_is_not_one_counts_as_none(tags: list[str]) -> None:
    assert Droplet.from_api(api_droplet(1, *tags)).host_key is None


def test_two_recorded_host_keys_count_as_none() -> None:
    assert Droplet.from_api(api_droplet(1, generate().tag, generate().tag)).host_key is None


def test_the_private_host_key_is_not_shown_by_accident() -> None:
    key = generate()
    assert "PRIVATE" in key.private
    assert "PRIVATE" not in repr(key)


def test_names_follow_the_settings_and_are_valid_at_digitalocean() -> None:
    names = droplet_names(load_app("my_perl_app"))
    assert list(names) == [
        "my-perl-app-lb-1",
        "my-perl-app-blue-1",
        "my-perl-app-blue-2",
        "my-perl-app-green-1",
        "my-perl-app-green-2",
    ]
