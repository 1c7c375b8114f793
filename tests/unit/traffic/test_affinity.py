"""``traffic.affinity: cookie``: which droplet a client reaches, through a real HAProxy."""

from __future__ import annotations

import re
from collections import Counter
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from ipaddress import IPv4Address
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet
from bluegreen.settings.app_file import load_app
from bluegreen.validation.sampler import ProbeClient, ProbeOptions
from tests.unit.local_haproxy import PREVIEW_KEY, REVISIONS, Deployed
from tests.waiting import until

BLUE_COOKIE, GREEN_COOKIE = "bluegreen_blue_droplet", "bluegreen_green_droplet"
PREVIEW_HOST = "green.example.com"


class Browser:
    """A client that keeps the cookies it is given, like a browser."""

    def __init__(self, deployed: Deployed) -> None:
        self._port = deployed.world.http_port
        self.cookies: dict[str, str] = {}
        self.last_cookie = ""

    def droplet(self, host: str = "example.com", **headers: str) -> str:
        """Ask once, and return which droplet has answered."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        sent = {"Host": host, **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection.request("GET", "/headers", headers=sent)
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        assert answer.status == 200
        self.last_cookie = answer.headers["Set-Cookie"] or ""
        self.cookies |= {name: one.value for name, one in SimpleCookie(self.last_cookie).items()}
        droplet: str = answer.headers["X-Revision"]
        return droplet


@pytest.fixture
def sticky(deployed: Deployed) -> Deployed:
    """A proxy with affinity, whose droplets answer with names of their own."""
    for color, members in deployed.world.backends.items():
        for number, backend in enumerate(members, 1):
            backend.page_revision = f"{color}-{number}"
    install(deployed)
    return deployed


def install(deployed: Deployed, **changes: Any) -> None:
    """Install a configuration with affinity, and wait until no worker has the one before."""
    deployed.sync(deployed.world.render(affinity=True, **changes))
    until(lambda: deployed.status()["haproxy"]["old_workers"] == 0, "old workers have ended")


def moved(sticky: Deployed, color: Color) -> None:
    sticky.switch(color)
    sticky.world.ok("confirm", token=sticky.token, revision=REVISIONS[color])


def test_a_client_stays_on_a_droplet_and_clients_are_balanced(sticky: Deployed) -> None:
    clients = [Browser(sticky) for _ in range(8)]
    first = [client.droplet() for client in clients]
    assert Counter(first) == {"blue-1": 4, "blue-2": 4}
    for _ in range(5):
        assert [client.droplet() for client in clients] == first


def test_without_the_setting_no_client_gets_a_cookie(deployed: Deployed) -> None:
    client = Browser(deployed)
    client.droplet()
    assert not client.last_cookie


@pytest.mark.parametrize("https", [False, True])
def test_the_cookie_is_for_haproxy_alone_and_names_no_address(sticky: Deployed, https: bool) -> None:
    install(sticky, https=https)
    client = Browser(sticky)
    client.droplet()
    pair, *attributes = client.last_cookie.split("; ")
    wanted = {"path=/", "HttpOnly", "SameSite=Lax", *(["Secure"] if https else [])}
    assert set(attributes) == wanted
    name, _, value = pair.partition("=")
    assert name == BLUE_COOKIE
    assert len(value) == 16
    int(value, 16)
    client.cookies["app"] = "its-own"
    client.droplet()
    [seen] = [one.headers["Cookie"] for one in sticky.world.backends[Color.BLUE] if one.headers["Cookie"]]
    assert seen == "app=its-own"
    assert not client.last_cookie


def test_the_key_of_the_cookies_is_the_same_on_every_proxy_and_no_other_secret(sticky: Deployed) -> None:
    key = re.compile(r"dynamic-cookie-key (\S+)")
    first, second = (set(key.findall(sticky.world.render(affinity=True))) for _ in range(2))
    [value] = first
    assert second == first
    assert PREVIEW_KEY not in value


def test_an_answer_that_sets_the_cookie_is_not_kept_by_caches(sticky: Deployed) -> None:
    for backend in sticky.world.backends[Color.BLUE]:
        backend.page_headers = {"ETag": '"1"'}
    connection = HTTPConnection("127.0.0.1", sticky.world.http_port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().headers["Cache-Control"] == "private"
    connection.close()


def test_a_client_whose_droplet_is_unhealthy_goes_to_another_one_and_stays_there(sticky: Deployed) -> None:
    client = Browser(sticky)
    other = {"blue-1": "blue-2", "blue-2": "blue-1"}[client.droplet()]
    sticky.set_health(Color.BLUE, other == "blue-1", other == "blue-2")
    # HAProxy takes a droplet out after several failed checks.
    until(lambda: client.droplet() == other, "the client is moved")
    sticky.set_health(Color.BLUE, True, True)
    until(lambda: {Browser(sticky).droplet() for _ in range(2)} == {"blue-1", "blue-2"}, "both take part")
    assert {client.droplet() for _ in range(4)} == {other}


def test_a_request_does_not_fail_with_the_droplet_that_its_client_stays_on(sticky: Deployed) -> None:
    client = Browser(sticky)
    number = int(client.droplet()[-1])
    # Before any check of HAProxy's has noticed.
    sticky.world.backends[Color.BLUE][number - 1].close()
    assert client.droplet() == f"blue-{3 - number}"


def test_a_switch_balances_clients_anew_and_the_way_back_finds_their_droplets_again(sticky: Deployed) -> None:
    clients = [Browser(sticky) for _ in range(8)]
    before = [client.droplet() for client in clients]
    moved(sticky, Color.GREEN)
    on_green = [client.droplet() for client in clients]
    assert Counter(on_green) == {"green-1": 4, "green-2": 4}
    assert [client.droplet() for client in clients] == on_green
    moved(sticky, Color.BLUE)
    assert [client.droplet() for client in clients] == before


def test_a_reload_moves_no_client(sticky: Deployed) -> None:
    client = Browser(sticky)
    before = client.droplet()
    install(sticky, timeout_client=49)
    assert {client.droplet() for _ in range(4)} == {before}


def test_while_both_colors_have_traffic_a_client_has_one_droplet_of_each(sticky: Deployed) -> None:
    client = Browser(sticky)
    sticky.world.ask(f"set map {sticky.world.map} idle_share 50")
    seen = {client.droplet() for _ in range(60)}
    assert sorted(name[:-2] for name in seen) == ["blue", "green"]


def test_somebody_who_looks_at_the_preview_stays_on_a_droplet_there_and_here(sticky: Deployed) -> None:
    client = Browser(sticky)
    here = client.droplet()
    there = {client.droplet(PREVIEW_HOST, **{"X-Preview-Key": PREVIEW_KEY}) for _ in range(4)}
    assert len(there) == 1
    assert there <= {"green-1", "green-2"}
    assert set(client.cookies) == {BLUE_COOKIE, GREEN_COOKIE}
    assert client.droplet() == here


@pytest.mark.parametrize("value", ["", "blue-1", "127.0.0.11", "0" * 16, "x" * 4000, '"', "a b"])
def test_a_cookie_that_a_client_makes_up_is_replaced(sticky: Deployed, value: str) -> None:
    client = Browser(sticky)
    client.cookies[BLUE_COOKIE] = value
    assert client.droplet().startswith("blue-")
    assert client.last_cookie.startswith(f"{BLUE_COOKIE}=")


def test_the_cookie_of_a_droplet_of_the_idle_color_leads_nobody_there(sticky: Deployed) -> None:
    moved(sticky, Color.GREEN)
    client = Browser(sticky)
    client.droplet()
    moved(sticky, Color.BLUE)
    client.cookies[BLUE_COOKIE] = client.cookies[GREEN_COOKIE]
    assert client.droplet().startswith("blue-")


@pytest.mark.parametrize("color", Color)
def test_own_requests_reach_every_droplet(sticky: Deployed, color: Color) -> None:
    proxy: Any = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("127.0.0.1"), private=None)
    proxy = proxy.model_copy(update={"public": f"127.0.0.1:{sticky.world.http_port}"})
    options = ProbeOptions.of_clients if color is Color.BLUE else ProbeOptions.of_preview
    with ProbeClient(options(load_app("my_perl_app"), PREVIEW_KEY)) as client:
        seen = Counter(client.ask(("/", proxy)).revision for _ in range(8))
    assert seen == {f"{color}-1": 4, f"{color}-2": 4}
