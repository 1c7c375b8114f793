"""The agent on a proxy: requests that began before a reload."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from bluegreen.color import Color
from tests.unit.local_haproxy import REVISIONS, Deployed
from tests.waiting import until


@contextmanager
def download(deployed: Deployed, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """A client in the middle of an answer."""
    client = http.client.HTTPConnection("127.0.0.1", deployed.world.http_port, timeout=30)
    client.request("GET", f"/download?s={seconds}")
    until(lambda: deployed.status()["sessions"]["blue"] == 1)
    try:
        yield client
    finally:
        client.close()


def old_workers(deployed: Deployed) -> int:
    """How many processes a reload has left behind."""
    left: int = deployed.status()["haproxy"]["old_workers"]
    return left


def line_of(deployed: Deployed, start: str) -> str:
    """A line of HAProxy's statistics."""
    return next(line for line in deployed.world.ask("show stat").splitlines() if line.startswith(start))


def next_request(deployed: Deployed, client: http.client.HTTPConnection) -> tuple[int, str | None]:
    """Status and revision that a client gets on the connection that it has."""
    assert old_workers(deployed) == 1
    client.auto_open = False
    client.request("GET", "/")
    answer = client.getresponse()
    answer.read()
    return answer.status, answer.headers["X-Revision"]


def test_sessions_are_counted_by_color(deployed: Deployed) -> None:
    assert deployed.status()["sessions"] == {"blue": 0, "green": 0}
    with download(deployed, 2):
        assert deployed.status()["sessions"] == {"blue": 1, "green": 0}
    until(lambda: deployed.status()["sessions"] == {"blue": 0, "green": 0})


def test_sessions_that_a_reload_left_to_an_old_worker_are_counted_too(deployed: Deployed) -> None:
    with download(deployed, 2):
        deployed.sync(deployed.world.render(timeout_server=51))
        assert old_workers(deployed) == 1
        assert deployed.status()["sessions"] == {"blue": 1, "green": 0}
    until(lambda: deployed.status()["sessions"] == {"blue": 0, "green": 0})


def test_a_master_that_does_not_answer_because_it_reloads_is_asked_again(deployed: Deployed) -> None:
    socket = deployed.world.root / "run/haproxy-master.sock"
    with download(deployed, 10):
        deployed.sync(deployed.world.render(timeout_server=51))
        away = socket.rename(socket.with_suffix(".away"))
        back = Timer(1, away.rename, (socket,))
        back.start()
        assert deployed.status()["sessions"] == {"blue": 1, "green": 0}
        back.join()


def test_a_long_answer_does_not_keep_traffic_from_moving_and_ends_whole(deployed: Deployed) -> None:
    with download(deployed, 6) as client:
        deployed.sync(deployed.world.render(timeout_server=51))
        deployed.switch(Color.GREEN)
        assert deployed.status()["sessions"]["blue"] == 1, "it has not ended yet"
        answer = client.getresponse()
        assert (answer.headers["X-Color"], answer.read()) == ("blue", b"begin end")


def test_the_next_request_of_a_client_of_an_old_worker_goes_to_the_new_color(deployed: Deployed) -> None:
    with download(deployed, 4) as client:
        deployed.sync(deployed.world.render(timeout_server=51))
        deployed.switch(Color.GREEN)
        assert client.getresponse().read() == b"begin end"
        assert next_request(deployed, client) == (200, REVISIONS[Color.GREEN])
    until(lambda: old_workers(deployed) == 0)


def test_an_old_worker_that_knows_no_healthy_server_there_keeps_its_color_and_is_counted(
    deployed: Deployed,
) -> None:
    """It checks nothing any more, so its clients would get 503 there."""
    deployed.set_health(Color.GREEN, False, False)
    until(lambda: ",DOWN," in line_of(deployed, "green_backend,BACKEND"))
    with download(deployed, 6) as client:
        deployed.sync(deployed.world.render(timeout_server=51))
        deployed.set_health(Color.GREEN, True, True)
        deployed.switch(Color.GREEN)
        assert client.getresponse().read() == b"begin end"
        assert deployed.status()["sessions"] == {"blue": 1, "green": 0}
        assert next_request(deployed, client) == (200, REVISIONS[Color.BLUE])
    until(lambda: deployed.status()["sessions"] == {"blue": 0, "green": 0})


def test_when_traffic_moved_is_known(deployed: Deployed) -> None:
    moved = deployed.switch(Color.GREEN)["at"]
    assert deployed.status()["moved_at"] == moved
    assert deployed.world.ok("revert", token=deployed.token)["reverted"]
    assert deployed.status()["moved_at"] > moved
