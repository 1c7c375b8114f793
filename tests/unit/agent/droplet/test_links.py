"""A link of a release stays inside of it, or leads to a place that the settings name."""

from __future__ import annotations

import pytest

from agent.droplet.links import may_be_linked_to, refusal

SHARED = "/var/lib/app-shop/shared/log"


@pytest.mark.parametrize(
    "links",
    [
        {"x": "y"},
        {"x": "."},
        {"a/x": ".."},
        {"a/x": "../b/c/../../y"},
        {"x": "nothing/there"},
        {"x": "./a//b/"},
        {"x": "y", "y": "z", "z": "a/b"},
        {"x": SHARED},
        {"x": "y/of/the/app", "y": SHARED},
    ],
)
def test_a_link_inside_is_allowed(links: dict[str, str]) -> None:
    assert [refusal(path, links, {SHARED}) for path in links] == [""] * len(links)


@pytest.mark.parametrize(
    ("path", "links", "why"),
    [
        ("x", {"x": "/etc/shadow"}, "is a link out of it, to /etc/shadow"),
        ("x", {"x": f"{SHARED}/more"}, f"is a link out of it, to {SHARED}/more"),
        ("x", {"x": ".."}, "is a link out of it, to .."),
        ("a/x", {"a/x": "../../y"}, "is a link out of it, to ../../y"),
        ("y", {"x": ".", "y": "x/../../z"}, "is a link out of it, to x/../../z"),
        ("x", {"x": "y", "y": "/etc"}, "is a link out of it, to /etc"),
        ("x", {"x": "log/../../etc", "log": SHARED}, "is a link out of it, to log/../../etc"),
        ("x", {"x": "x"}, "is a link that leads round in circles"),
        ("x", {"x": "y", "y": "x"}, "is a link that leads round in circles"),
    ],
)
def test_a_link_out_is_refused(path: str, links: dict[str, str], why: str) -> None:
    assert refusal(path, links, {SHARED}) == why


@pytest.mark.parametrize("target", [SHARED, "/etc/app-shop/config/db.yaml"])
def test_places_of_the_app_may_be_linked_to(target: str) -> None:
    assert may_be_linked_to("app-shop", target)


@pytest.mark.parametrize(
    "target",
    [
        "/etc/shadow",
        "/etc/app-shop",
        "/etc/app-shop/",
        "/etc/app-shop/../shadow",
        "/var/lib/app-shop/./x",
        "/var/lib/app-shop//x",
        "/var/lib/app-shopping/x",
        "var/lib/app-shop/x",
        "",
    ],
)
def test_other_places_may_not(target: str) -> None:
    assert not may_be_linked_to("app-shop", target)
