"""The agent on a proxy: moving traffic, and giving it back."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import ProxyStatus
from tests.started import started
from tests.unit.hostile_app import HostileServer
from tests.unit.local_haproxy import (
    ADDRESSES,
    BLUE_LIVE,
    GREEN_LIVE,
    INITIAL,
    REVISIONS,
    Deployed,
    LocalHaproxy,
    fire,
    lock,
)
from tests.waiting import until


@contextmanager
def kept_alive_client(world: LocalHaproxy) -> Iterator[list[tuple[float, int, str | None]]]:
    """One client that never lets go of its connection: when each request began, its status and its color."""
    answers: list[tuple[float, int, str | None]] = []
    enough = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", world.http_port, timeout=10)
        connection.connect()
        while not enough.is_set():
            began = time.time()
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            answers.append((began, response.status, response.headers["X-Color"]))
        connection.close()

    client = threading.Thread(target=ask)
    client.start()
    try:
        until(lambda: len(answers) > 10)
        yield answers
        seen = len(answers)
        until(lambda: len(answers) > seen + 10)
    finally:
        enough.set()
        client.join()


def test_a_switch_moves_new_and_kept_alive_connections_at_once(deployed: Deployed) -> None:
    with kept_alive_client(deployed.world) as answers:
        result = deployed.switch(Color.GREEN)
    assert (result["from"], result["to"]) == ("blue", "green")
    assert deployed.maps() == GREEN_LIVE
    assert deployed.world.get() == (200, "green", REVISIONS[Color.GREEN])
    assert {status for _, status, _ in answers} == {200}
    assert answers[-1][2] == "green"
    assert [color for began, _, color in answers if began > result["at"] + 0.1 and color != "green"] == []


def test_the_first_deploy_has_nothing_to_go_back_to(proxy: LocalHaproxy) -> None:
    token = lock(proxy)
    proxy.ok("sync", token=token, config=proxy.render(), initial=INITIAL)
    answer = proxy.ok(
        "switch",
        token=token,
        to="blue",
        revision=REVISIONS[Color.BLUE],
        started=started(REVISIONS[Color.BLUE]),
        confirm_within=60,
        min_servers=2,
        health_path="/health",
    )
    assert (answer["from"], answer["to"]) == (None, "blue")
    assert proxy.timers() == []
    assert not proxy.ok("boot")["reverted"], "nothing else could answer"
    assert proxy.get()[:2] == (200, "blue")


def test_a_run_may_take_its_own_first_release_away_again(proxy: LocalHaproxy) -> None:
    deployed = Deployed.__new__(Deployed)
    deployed.world, deployed.token = proxy, lock(proxy)
    deployed.sync(proxy.render())
    deployed.switch(Color.BLUE)
    answer = proxy.ok("revert", token=deployed.token)
    assert (answer["from"], answer["to"], answer["reverted"]) == ("blue", None, True)
    assert deployed.maps() == ("live none\nidle blue\nidle_share 0\n",) * 2
    assert proxy.get() == (503, None, None)
    assert ProxyStatus.parse(deployed.status()).live is None


def test_switching_to_what_is_live_changes_nothing(deployed: Deployed) -> None:
    answer = deployed.switch(Color.BLUE)
    assert answer == {"ok": True, "from": "blue", "to": "blue", "already": True}
    assert deployed.pending() is None


def test_a_retried_switch_still_knows_where_it_came_from(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    first = deployed.pending()
    again = deployed.switch(Color.GREEN)
    second = deployed.pending()
    assert (again["from"], again["to"], again["already"]) == ("blue", "green", True)
    assert first is not None
    assert second is not None
    assert (second["from"], second["deadline"] > first["deadline"]) == ("blue", True)


def test_preparing_checks_everything_and_moves_nothing(deployed: Deployed) -> None:
    answer = deployed.switch(Color.GREEN, prepare_only=True)
    assert answer["prepared"]
    assert deployed.maps() == BLUE_LIVE
    assert (deployed.pending(), deployed.world.timers()) == (None, [])


def assert_untouched(deployed: Deployed) -> None:
    assert deployed.maps() == BLUE_LIVE
    assert deployed.pending() is None
    assert deployed.world.timers() == []
    assert deployed.world.get()[:2] == (200, "blue")


def test_a_sick_color_is_refused_by_the_name_of_its_servers(deployed: Deployed) -> None:
    deployed.set_health(Color.GREEN, True, False)
    code, message = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "unhealthy"
    assert "my-perl-app-green-2: L7STS" in message
    assert_untouched(deployed)


def test_a_smaller_color_is_accepted_if_the_caller_says_so(deployed: Deployed) -> None:
    deployed.set_health(Color.GREEN, True, False)
    deployed.switch(Color.GREEN, min_servers=1)
    assert deployed.maps() == GREEN_LIVE


def test_a_server_with_another_revision_is_refused(deployed: Deployed) -> None:
    deployed.world.backends[Color.GREEN][1].revision = "d" * 40
    code, message = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "unhealthy"
    assert "my-perl-app-green-2" in message
    assert "dddd" in message
    assert_untouched(deployed)


@pytest.mark.parametrize(
    "change",
    [{"to": "none"}, {"to": "purple"}, {"revision": "v2"}, {"confirm_within": "60"}, {"health_path": None}],
)
def test_a_switch_that_makes_no_sense_is_refused(deployed: Deployed, change: dict[str, Any]) -> None:
    request = {**deployed.switch_request(Color.GREEN), **change}
    assert deployed.world.refused("switch", **request)[0] == "bad_request"
    assert_untouched(deployed)


def test_nothing_moves_unless_the_way_back_is_armed(deployed: Deployed) -> None:
    (deployed.world.root / "bin/systemd-run").write_text(
        "#!/bin/sh\necho 'Failed to connect to bus'; exit 1\n"
    )
    code, message = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "cannot_arm"
    assert "Failed to connect to bus" in message
    assert_untouched(deployed)


def test_traffic_is_put_back_if_no_answer_of_the_new_color_comes_through(deployed: Deployed) -> None:
    mute = deployed.world.render().replace(
        "http-response set-header X-Color green", "http-response del-header X-Color"
    )
    deployed.sync(mute)
    code, message = deployed.world.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "not_moved"
    assert "live is blue" in message
    assert deployed.maps() == BLUE_LIVE
    assert deployed.pending() is None
    assert deployed.world.get()[:2] == (200, "blue")


def test_without_haproxy_nothing_moves(proxy: LocalHaproxy) -> None:
    deployed = Deployed(proxy)
    proxy.stop_haproxy()
    file = proxy.map.read_bytes()
    code, message = proxy.refused("switch", **deployed.switch_request(Color.GREEN))
    assert code == "haproxy_down"
    assert "does not run" in message
    assert proxy.map.read_bytes() == file
    assert not deployed.status()["haproxy"]["running"]


def test_a_reload_by_hand_that_failed_is_not_in_the_way(deployed: Deployed) -> None:
    world = deployed.world
    known = deployed.status()["haproxy"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        occupied = f"frontend f\n    bind 127.0.0.1:{taken.getsockname()[1]}\n"
        world.config.write_text(world.render() + occupied)
        world.send_reload()
        until(lambda: "[failed: 1]" in world.ask("show proc", "run/haproxy-master.sock"))
    file_sha256 = hashlib.sha256(world.config.read_bytes()).hexdigest()
    assert deployed.status()["haproxy"] == {**known, "file_sha256": file_sha256}
    deployed.switch(Color.GREEN)
    assert world.get()[:2] == (200, "green")
    assert deployed.sync(world.render())["changed"]
    assert deployed.sync(world.render(timeout_server=51))["reloaded"]
    assert world.get()[:2] == (200, "green")


def test_a_confirmed_switch_stays(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    request = {"token": deployed.token, "revision": REVISIONS[Color.GREEN]}
    assert deployed.world.ok("confirm", **request)["live"] == "green"
    assert "stop bluegreen-revert-*.timer bluegreen-revert-*.service" in deployed.world.systemctl_calls()
    assert deployed.world.ok("confirm", **request)["live"] == "green", "a retried task confirms again"
    assert not fire(deployed.world, -1)["reverted"]
    assert not deployed.world.ok("revert", token=deployed.token)["reverted"]
    assert deployed.maps() == GREEN_LIVE


def test_a_map_that_was_edited_by_hand_meanwhile_is_mended_with_the_confirmation(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.map.write_text("dead green\n")
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])
    assert deployed.maps() == GREEN_LIVE


def test_an_unconfirmed_switch_reverts_and_says_so_to_the_late(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN, confirm_within=7)
    timer = deployed.world.timers()[-1]
    assert "--on-active=7s" in timer
    assert "--timer-property=AccuracySec=100ms" in timer
    answer = fire(deployed.world, -1)
    assert (answer["from"], answer["to"], answer["reverted"]) == ("green", "blue", True)
    assert deployed.maps() == BLUE_LIVE
    code, message = deployed.world.refused("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN])
    assert code == "reverted"
    assert "not confirmed in time" in message
    assert "live is blue" in message
    last = deployed.status()["last_revert"]
    assert (last["from"], last["to"], last["run_id"]) == ("green", "blue", "run-1")


def test_a_timer_of_an_earlier_switch_does_not_revert_a_later_one(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("revert", token=deployed.token)
    deployed.switch(Color.GREEN)
    assert not fire(deployed.world, 0)["reverted"]
    assert deployed.maps() == GREEN_LIVE
    assert fire(deployed.world, 1)["reverted"]


def test_a_revert_to_a_sick_color_is_refused_and_may_be_tried_again(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    code, message = deployed.world.refused("revert", token=deployed.token)
    assert code == "unhealthy"
    assert "live is still green" in message
    assert deployed.maps() == GREEN_LIVE
    deployed.set_health(Color.BLUE, True, False)
    assert deployed.world.ok("revert", token=deployed.token)["reverted"]
    assert deployed.maps() == BLUE_LIVE


def test_after_a_reload_a_server_is_not_well_before_its_first_check(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    for backend in deployed.world.backends[Color.BLUE]:
        backend.healthy, backend.health_takes = False, 3
    deployed.sync(deployed.world.render(timeout_server=51))
    assert deployed.world.refused("revert", token=deployed.token)[0] == "unhealthy"
    assert deployed.maps() == GREEN_LIVE


def test_counters_are_those_of_each_color(deployed: Deployed) -> None:
    before = deployed.status()["counters"]
    for backend in deployed.world.backends[Color.BLUE]:
        backend.healthy = False
    for _ in range(5):
        assert deployed.world.get("/health")[0] == 500
    after = deployed.status()["counters"]
    assert after["blue"]["requests"] - before["blue"]["requests"] == 5
    assert after["blue"]["responses_5xx"] - before["blue"]["responses_5xx"] == 5
    until(lambda: deployed.world.get()[0] == 503)
    with_haproxy_s_own = deployed.status()["counters"]["blue"]["responses_5xx"]
    assert with_haproxy_s_own - after["blue"]["responses_5xx"] == 1
    assert after["green"] == before["green"]


def as_clients_ask(head: bytes, host: str, scheme: str) -> bool:
    return (
        f"\r\nhost: {host}\r\n".encode() in head and f"\r\nx-forwarded-proto: {scheme}\r\n".encode() in head
    )


@pytest.mark.parametrize(
    ("asked", "host", "scheme"),
    [
        ({}, None, "http"),
        ({"host": "www.example.com:8443", "https": True}, "www.example.com:8443", "https"),
        ({"host": "www.example.com", "https": False, "statuses": [204]}, "www.example.com", "http"),
    ],
)
def test_an_app_is_asked_by_the_host_and_scheme_of_its_clients(
    deployed: Deployed, asked: dict[str, Any], host: str | None, scheme: str
) -> None:
    heads: list[bytes] = []
    status = (asked.get("statuses") or [200])[0]

    def answer(connection: socket.socket, head: bytes) -> None:
        heads.append(head.lower())
        revision = REVISIONS[Color.GREEN]
        text = f"HTTP/1.1 {status} Fine\r\nX-Revision: {revision}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(text.encode())

    servers = []
    for backend, address in zip(deployed.world.backends[Color.GREEN], ADDRESSES[Color.GREEN], strict=True):
        backend.close()
        servers.append(HostileServer(address, deployed.world.app_port, answer))
    try:
        deployed.switch(Color.GREEN, **asked)
    finally:
        for server in servers:
            server.close()
    own = [head for head in heads if b"bluegreen-agent" in head]
    direct = [head for head in own if b"x-forwarded-for" not in head]
    addresses = [host] if host else ADDRESSES[Color.GREEN]
    assert len(direct) == 2
    assert all(any(as_clients_ask(head, one, scheme) for one in addresses) for head in direct)
    through = [head for head in own if b"x-forwarded-for" in head]
    assert through
    assert all(f"\r\nhost: {host or '127.0.0.1'}\r\n".encode() in head for head in through)


@pytest.mark.parametrize(
    ("changes", "good"),
    [({}, "200 to 299"), ({"statuses": [200, 401]}, "200 or 401"), ({"statuses": [302]}, "302")],
)
def test_an_answer_with_another_status_is_refused_with_those_that_are_good(
    deployed: Deployed, changes: dict[str, Any], good: str
) -> None:
    request = deployed.switch_request(Color.GREEN, health_path="/not-there", **changes)
    for backend in deployed.world.backends[Color.GREEN]:
        backend.page_status = 404
    code, message = deployed.world.refused("switch", **request)
    assert code == "unhealthy"
    assert "/not-there with status 404" in message
    assert f"not with status {good} and" in message
    assert_untouched(deployed)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"release": f"{'f' * 40}-{'d' * 16}"},
        {"configuration": "c"},
        {"pairings": {"green-1": "e"}},
        {"pairings": {"green 1": "e" * 64}},
        {"pairings": {f"green-{number}": "e" * 64 for number in range(1001)}},
    ],
)
def test_a_switch_to_what_cannot_have_been_started_is_refused(
    deployed: Deployed, change: dict[str, Any]
) -> None:
    request = deployed.switch_request(Color.GREEN)
    request["started"] = {**request["started"], **change} if change else None
    assert deployed.world.refused("switch", **request)[0] == "bad_request"
    assert_untouched(deployed)


@pytest.mark.parametrize(
    "change",
    [{"host": "a b"}, {"host": "x\r\nEvil: 1"}, {"https": "yes"}, {"statuses": ["200"]}, {"statuses": 200}],
)
def test_a_question_that_makes_no_sense_is_refused(deployed: Deployed, change: dict[str, Any]) -> None:
    request = deployed.switch_request(Color.GREEN, **change)
    assert deployed.world.refused("switch", **request)[0] == "bad_request"
    assert_untouched(deployed)
