"""Links beside a task in Airflow's UI."""

from __future__ import annotations

from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.operators.support.links import CommitLink, DropletLink, commit_url
from bluegreen.run.plan import Plan

REVISION = "a" * 40


def droplet(number: int, name: str) -> Droplet:
    address = IPv4Address(f"198.18.0.{number}")
    return Droplet(id=number, name=name, status="active", public=address, private=None)


FLEET = Fleet(proxies=(droplet(1, "lb-1"),), blue=(droplet(2, "blue-1"),), green=(droplet(3, "green-1"),))
PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")


@pytest.mark.parametrize(
    ("repository", "url"),
    [
        ("https://github.com/acme/shop.git", "https://github.com/acme/shop/commit/"),
        ("git@github.com:acme/shop.git", "https://github.com/acme/shop/commit/"),
        (
            "ssh://git@gitlab.example.org:2222/group/sub/shop.git",
            "https://gitlab.example.org/group/sub/shop/commit/",
        ),
        ("http://forge.example.org:3000/acme/shop", "http://forge.example.org:3000/acme/shop/commit/"),
        ("git@bitbucket.org:acme/shop.git", "https://bitbucket.org/acme/shop/commits/"),
    ],
)
def test_a_commit_is_found_on_the_forge_of_its_repository(repository: str, url: str) -> None:
    assert commit_url(repository, REVISION) == url + REVISION


def test_a_repository_that_is_on_no_forge_has_no_page() -> None:
    assert commit_url("http://198.18.0.1/shop.git", REVISION) == ""


def links(**given: Any) -> list[str]:
    task: Any = SimpleNamespace(**given)
    nothing: Any = SimpleNamespace(xcom_pull=lambda task_ids: None)
    return [link().get_link(task, ti_key=nothing) for link in (DropletLink, CommitLink)]


def test_a_droplets_task_leads_to_its_droplet_and_its_commit() -> None:
    panel, commit = links(plan=PLAN, revision=REVISION, ip="198.18.0.3", app_id="my_perl_app")
    assert panel == "https://cloud.digitalocean.com/droplets/3"
    assert commit.endswith(f"/commit/{REVISION}")


def test_a_task_that_never_got_its_plan_leads_nowhere() -> None:
    assert links(plan=object(), revision=object(), app_id="my_perl_app") == ["", ""]
