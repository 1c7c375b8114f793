"""HAProxy's configuration: what is rendered, what is refused, and how it serves."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trustme

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks import haproxy_config as hook_module
from bluegreen.hooks.haproxy_config import haproxy_config
from bluegreen.settings.app_file import load_app
from bluegreen.traffic.agent_answers import ServerState
from bluegreen.traffic.haproxy_config import Server, rendered_servers
from tests.unit.app_settings import settings_of
from tests.unit.fleets import FLEET
from tests.unit.local_haproxy import REVISIONS, Deployed
from tests.unit.shop_config import BLUE, GREEN, SECOND, render
from tests.waiting import until


def test_every_server_of_the_fleet_is_in_the_backend_of_its_color() -> None:
    config = render()
    assert "    server my-perl-app-blue-1 10.0.0.1:8080 check maxconn 8\n" in config
    assert rendered_servers(config) == {Color.BLUE: {BLUE, SECOND}, Color.GREEN: {GREEN}}


def test_the_live_color_keeps_what_its_release_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook_module, "preview_key", lambda _: "0123456789abcdef")
    running = [
        ServerState(name="blue-1", address=IPv4Address("10.0.0.1"), port=9090, maxconn=2, up=True, check="")
    ]
    servers = rendered_servers(haproxy_config(load_app("my_perl_app"), FLEET, (2, 6), running))
    assert [(one.name, one.port, one.maxconn) for color in Color for one in servers[color]] == [
        ("blue-1", 9090, 2),
        ("green-1", 8080, 8),
    ]


def test_a_server_with_an_event_loop_is_sent_more_requests_than_it_has_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hook_module, "preview_key", lambda _: "0123456789abcdef")
    app = settings_of(tmp_path, "preset: mojolicious\nscript: script/shop\nworkers: 3")
    servers = rendered_servers(haproxy_config(app, FLEET, (2, 6)))
    assert {server.maxconn for color in Color for server in servers[color]} == {3000}


def test_the_same_fleet_in_another_order_is_the_same_file() -> None:
    assert render(servers={Color.GREEN: [GREEN], Color.BLUE: [SECOND, BLUE]}) == render()


def test_the_file_does_not_say_who_is_live() -> None:
    assert "default_backend none_backend" in render()


@pytest.mark.parametrize(
    "said",
    [
        "log /dev/log local0",
        "stats socket /run/haproxy/admin.sock mode 660 level admin expose-fd listeners",
        "stats timeout 30s",
        "bind *:80",
        *(
            f"errorfile {code} /etc/haproxy/errors/{code}.http"
            for code in (400, 403, 408, 500, 502, 503, 504)
        ),
        "option idle-close-on-response",
        "option http-server-close",
        "http-check send meth GET uri /health hdr X-Forwarded-Proto http\n",
        "http-check expect status 200-299",
        "option redispatch 1",
        "timeout http-keep-alive 5s",
    ],
)
def test_the_configuration_has_each_required_line(said: str) -> None:
    assert said in render()


def test_the_statistics_page_cannot_change_anything() -> None:
    assert "stats admin" not in render()


def test_strangers_find_the_ports_of_clients_only() -> None:
    """The statistics answer on the proxy's own address; the monitor is there for a managed load balancer."""
    bound = [
        line.split()[1]
        for line in render(certificates=["/x.pem"]).splitlines()
        if line.split()[:1] == ["bind"]
    ]
    assert sorted(bound) == ["*:443", "*:80", "127.0.0.1:8404", ":::443", ":::80"]


def test_https_comes_with_a_certificate_only() -> None:
    assert ":443" not in render()
    config = render(certificates=["/etc/ssl/private/one.pem", "/etc/ssl/private/others/"])
    assert (
        "bind *:443 ssl crt /etc/ssl/private/one.pem crt /etc/ssl/private/others/ alpn h2,http/1.1" in config
    )


def test_an_old_haproxy_closes_every_connection_instead() -> None:
    config = render(haproxy_version=(2, 4))
    assert "option httpclose" in config
    assert "option idle-close-on-response" not in config


def test_fields_after_a_body_are_dropped_where_haproxy_can() -> None:
    assert "option http-drop-request-trailers" in render(haproxy_version=(3, 2))
    assert "option http-drop-request-trailers" not in render(haproxy_version=(3, 0))


HOSTILE = (
    "x\n    server evil 1.2.3.4:80",
    "x y",
    "x#",
    'x"',
    "x'",
    "x\\",
    "x\0",
    "x\r",
    "",
    "$x",
    "{{ 7*7 }}",
    None,
)


HOSTILE_NAMES = [value for value in HOSTILE if value]


HOSTILE_PATHS = [f"/{value}" for value in HOSTILE_NAMES] + ["", "x"]


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in ("app",) for value in HOSTILE]
    + [("preview_key", f"{'x' * 16}{value}") for value in HOSTILE_NAMES if value != "{{ 7*7 }}"]
    + [("preview_key", value) for value in ("", "too-short", None)]
    + [(key, value) for key in ("preview_host", "public_host") for value in (*HOSTILE_NAMES, "x:", "x:80 x")]
    + [("health_path", value) for value in HOSTILE_PATHS]
    + [("acme_thumbprint", value) for value in (*HOSTILE_NAMES, "", "a" * 42, "a" * 44)]
    + [("hsts", value) for value in (-1, True, "1", 1 << 40)],
)
def test_a_value_that_could_mean_something_else_to_haproxy_is_refused(key: str, value: str | None) -> None:
    with pytest.raises(BlueGreenError):
        render(**{key: value})


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_certificate_whose_path_could_mean_something_else_is_refused(path: str) -> None:
    with pytest.raises(BlueGreenError, match="certificate"):
        render(certificates=["/etc/ssl/good.pem", path])


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "", "-x", "x-", "a" * 64, "a_b", "ü"])
def test_a_name_that_no_droplet_has_is_refused(name: str) -> None:
    with pytest.raises(BlueGreenError, match="server name"):
        Server(name, IPv4Address("10.0.0.1"), 8080, 8)


@pytest.mark.parametrize("port", [0, 65536, -1, True, "80", "80 check\n"])
def test_a_port_that_is_none_is_refused(port: Any) -> None:
    with pytest.raises(BlueGreenError, match="port of server"):
        Server("x", IPv4Address("10.0.0.1"), port, 8)


@pytest.mark.parametrize("maxconn", [0, "8", None])
def test_a_limit_that_is_none_is_refused(maxconn: Any) -> None:
    with pytest.raises(BlueGreenError, match="connections of server"):
        Server("x", IPv4Address("10.0.0.1"), 8080, maxconn)


def test_an_address_has_to_be_an_address() -> None:
    with pytest.raises(BlueGreenError, match="not an IPv4 address"):
        Server("x", "10.0.0.1", 8080, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"timeout_client": 0},
        {"timeout_server": 1.5},
        {"health_statuses": [199]},
        {"health_statuses": ["302,200"]},
    ],
)
def test_a_number_out_of_its_range_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BlueGreenError, match="is not a number from"):
        render(**change)


@pytest.mark.parametrize(
    ("servers", "told"),
    [
        ({Color.BLUE: [BLUE]}, "green has no servers"),
        ({Color.BLUE: [BLUE], Color.GREEN: []}, "green has no servers"),
        ({Color.BLUE: [BLUE, BLUE], Color.GREEN: [GREEN]}, "same name"),
        ({Color.BLUE: [BLUE], Color.GREEN: [Server("g", BLUE.address, 8080, 8)]}, "same address"),
    ],
)
def test_a_fleet_that_could_not_serve_is_refused(servers: dict[Color, list[Server]], told: str) -> None:
    with pytest.raises(BlueGreenError, match=told):
        render(servers=servers)


def test_a_refused_preview_key_is_not_in_the_message() -> None:
    with pytest.raises(BlueGreenError) as refusal:
        render(preview_key="geheim geheim geheim")
    assert "geheim" not in str(refusal.value)


def test_an_injected_server_is_seen_when_the_file_is_read_back() -> None:
    green = "    server my-perl-app-green-1"
    injected = render().replace(green, f"    server evil 1.2.3.4:80 check maxconn 8\n{green}")
    assert len(rendered_servers(injected)[Color.GREEN]) == 2
    with pytest.raises(BlueGreenError, match="unexpected server line"):
        rendered_servers(render() + "backend blue_backend\n    server x example.com:80 check\n")


@pytest.fixture
def set_map(deployed: Deployed) -> Callable[[str, str], None]:
    """Change one key of HAProxy's own copy of the map, as a hand could."""

    def change(key: str, value: str) -> None:
        assert deployed.world.ask(f"set map {deployed.world.map} {key} {value}").strip() == ""

    return change


@pytest.mark.parametrize("host", ["green.example.com", "GREEN.example.com", "green.example.com:8080"])
def test_the_preview_host_leads_to_the_idle_color_whichever_that_is(deployed: Deployed, host: str) -> None:
    assert deployed.world.get(host=host) == (200, "green", REVISIONS[Color.GREEN])
    deployed.switch(Color.GREEN)
    assert deployed.world.get(host=host) == (200, "blue", REVISIONS[Color.BLUE])


@pytest.mark.parametrize("host", ["example.com", "xgreen.example.com", "green.example.com.evil.org", "green"])
def test_other_hosts_lead_to_the_live_color(deployed: Deployed, host: str) -> None:
    assert deployed.world.get(host=host)[:2] == (200, "blue")


def test_the_idle_color_gets_the_share_that_the_map_gives_it(
    deployed: Deployed, set_map: Callable[[str, str], None]
) -> None:
    set_map("idle_share", "30")
    colors = Counter(deployed.world.get()[1] for _ in range(300))
    assert 50 < colors["green"] < 130
    assert colors["blue"] == 300 - colors["green"]


@pytest.mark.parametrize("value", ["none", "purple", "http", "blue_backend"])
def test_a_wrong_value_in_the_map_never_leads_to_a_wrong_color(
    deployed: Deployed, set_map: Callable[[str, str], None], value: str
) -> None:
    set_map("live", value)
    set_map("idle_share", "many")
    assert deployed.world.get() == (503, None, None)


@pytest.mark.parametrize(
    ("changes", "host", "scheme"),
    [
        ({}, None, "http"),
        ({"public_host": "www.example.com", "https": True}, "www.example.com", "https"),
        ({"public_host": "www.example.com:8080"}, "www.example.com:8080", "http"),
    ],
)
def test_haproxy_asks_for_health_as_clients_ask(
    deployed: Deployed, changes: dict[str, Any], host: str | None, scheme: str
) -> None:
    deployed.sync(deployed.world.render(**changes))

    def asked() -> set[tuple[str | None, str | None]]:
        everyone = [backend for members in deployed.world.backends.values() for backend in members]
        return {(one.health_headers["Host"], one.health_headers["X-Forwarded-Proto"]) for one in everyone}

    until(lambda: asked() == {(host, scheme)})


@pytest.mark.parametrize(
    ("status", "statuses", "healthy"),
    [(204, (), True), (302, (), False), (404, (), False), (302, (302, 401), True), (200, (302, 401), False)],
)
def test_haproxy_takes_the_statuses_of_the_settings_for_healthy(
    deployed: Deployed, status: int, statuses: tuple[int, ...], healthy: bool
) -> None:
    for backend in deployed.world.backends[Color.GREEN]:
        backend.health_status = status
    deployed.sync(deployed.world.render(health_statuses=statuses))
    until(
        lambda: (
            [one["check"] for one in deployed.status()["servers"]["green"]]
            == (["L7OK" if healthy else "L7STS"] * 2)
        )
    )


def test_a_dead_server_costs_no_request(deployed: Deployed) -> None:
    deployed.world.backends[Color.BLUE][0].close()
    assert {deployed.world.get()[:2] for _ in range(20)} == {(200, "blue")}


def test_a_server_sees_its_clients_address_and_clients_cannot_forge_it(deployed: Deployed) -> None:
    seen = deployed.world.seen_headers(
        {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "Host": "example.com"}
    )
    assert seen.get_all("X-Forwarded-For") == ["127.0.0.1"]
    assert seen.get_all("X-Forwarded-Proto") == ["http"]


BALANCED_FROM = IPv4Network("127.0.9.0/24")


def ask_as(source: str, port: int, text: str) -> str:
    """Send some text from an address and return what comes back."""
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as connection:
        connection.sendall(text.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


REQUEST = "GET /headers HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("port", "proto"), [(80, "http"), (443, "https")])
def test_a_managed_load_balancer_passes_the_clients_address_on(
    deployed: Deployed, port: int, proto: str
) -> None:
    deployed.sync(deployed.world.render(balanced_from=BALANCED_FROM))
    client = f"PROXY TCP4 203.0.113.7 198.51.100.1 40000 {port}\r\n"
    assert "200 OK" in ask_as("127.0.9.1", deployed.world.http_port, client + REQUEST)
    everyone = [backend.headers for members in deployed.world.backends.values() for backend in members]
    (seen,) = [headers for headers in everyone if headers.keys()]
    assert seen.get_all("X-Forwarded-For") == ["203.0.113.7"]
    assert seen.get_all("X-Forwarded-Proto") == [proto]


def test_only_the_managed_load_balancer_is_believed(deployed: Deployed) -> None:
    deployed.sync(deployed.world.render(balanced_from=BALANCED_FROM))
    forged = "PROXY TCP4 203.0.113.7 198.51.100.1 40000 80\r\n" + REQUEST
    assert "400 Bad request" in ask_as("127.0.8.1", deployed.world.http_port, forged)
    seen = deployed.world.seen_headers({"X-Forwarded-For": "6.6.6.6"})
    assert seen.get_all("X-Forwarded-For") == ["127.0.0.1"]


def test_the_monitor_reports_that_haproxy_takes_traffic_even_if_the_app_is_unhealthy(
    deployed: Deployed,
) -> None:
    deployed.sync(deployed.world.render(balanced_from=BALANCED_FROM))
    for backend in deployed.world.backends[Color.BLUE]:
        backend.close()
    until(lambda: deployed.world.get()[0] == 503)
    check = "PROXY TCP4 127.0.9.1 127.0.0.1 40000 8405\r\nGET /monitor HTTP/1.0\r\n\r\n"
    assert "200 OK" in ask_as("127.0.9.1", deployed.world.monitor_port, check)


def test_without_a_managed_load_balancer_there_is_no_proxy_protocol_and_no_monitor() -> None:
    assert "expect-proxy" not in render()
    assert "8405" not in render()


@pytest.mark.parametrize("value", ["10.0.0.0/8", "10.0.0.0/8 }", "", 0])
def test_a_network_has_to_be_a_network(value: Any) -> None:
    with pytest.raises(BlueGreenError, match="not an IPv4 network"):
        render(balanced_from=value)
    for key in ("trusted_proxies", "preview_allow"):
        with pytest.raises(BlueGreenError, match="is not a network"):
            render(**{key: [value]})


def test_both_kinds_of_addresses_are_served_where_the_kernel_knows_them() -> None:
    settings: dict[str, Any] = {"certificates": ["/etc/ssl/x.pem"], "balanced_from": BALANCED_FROM}
    config = render(**settings)
    for port in (80, 443, 8405):
        assert f"    bind *:{port}" in config
        assert f"    bind :::{port} v6only" in config
    assert ":::" not in render(**settings, ipv6=False)


def test_a_certificate_is_used(deployed: Deployed, tmp_path: Path) -> None:
    certificate = tmp_path / "site.pem"
    issued = trustme.CA().issue_cert("example.com")
    issued.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    config = deployed.world.render(certificates=[str(certificate)])
    deployed.sync(config)
    assert deployed.world.get_https() == (200, "blue", REVISIONS[Color.BLUE])
