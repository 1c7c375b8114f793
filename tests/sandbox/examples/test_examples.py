"""Each example is provisioned, deployed, switched and rolled back by its app file alone, under load."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import requests

from demo.airflow import AirflowStack
from demo.environment import DemoEnvironment
from sandbox import Sandbox
from sandbox.examples import NAMES
from tests.sandbox.database import Database
from tests.sandbox.droplets import Shop
from tests.sandbox.examples.example_fleets import ExampleFleet, example_airflow
from tests.sandbox.judged import judged

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class World:
    """What the examples share.

    :param blog: the environment that the blog gets from its connection.
    """

    environment: DemoEnvironment
    airflow: AirflowStack
    blog: dict[str, str]


@pytest.fixture(scope="module")
def world(sandbox: Sandbox, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    [machine] = shop.order("examples-database", size="s-2vcpu-4gb")
    machine.wait_ready()
    database = Database(machine, "blog")
    database.install()
    blog = {"DATABASE_URL": database.url, "BLOG_TOKEN": secrets.token_urlsafe(16)}
    directory = tmp_path_factory.mktemp("examples")
    # Sessions in Redis are the business of the folder ``state``.
    members = {"SESSION_STORE": "cookie", "SESSION_SECRET": secrets.token_urlsafe(16)}
    variables = {"dancer2_blog": blog, "plack_sessions": members}
    with example_airflow(sandbox, directory, variables) as (environment, airflow):
        yield World(environment, airflow, blog)
    shop.client().droplets.destroy(machine.droplet_id)


@pytest.fixture(scope="module", params=NAMES)
def fleet(request: pytest.FixtureRequest, world: World) -> Iterator[ExampleFleet]:
    """An example with a fleet of its own, and v1 live; each test but an example's last one leaves that so."""
    fleet = ExampleFleet(request.param, world.environment, world.airflow)
    try:
        fleet.run("provision").expect("done")
        fleet.run("deploy", ref="v1").expect("live and confirmed")
        yield fleet
    finally:
        fleet.destroy()


def only(name: str) -> pytest.MarkDecorator:
    """Run a test with one example."""
    return pytest.mark.parametrize("fleet", [name], indirect=True)


def test_an_example_is_deployed_and_rolled_back_by_its_app_file_and_no_request_fails(
    fleet: ExampleFleet, world: World, tmp_path: Path
) -> None:
    with judged(fleet.url, tmp_path, fleet.settings["validation"]["paths"]) as found:
        assert "v1" in fleet.page()
        fleet.run("deploy", ref="v2").expect("live and confirmed")
        assert '"v2"' in fleet.page("/version")
        fleet.run("rollback").expect("live and confirmed")
        assert '"v1"' in fleet.page("/version")
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples
    assert set(seen.colors) == {"blue", "green"}
    assert len(seen.revisions) == 2


def test_the_own_tests_of_an_example_pass_where_it_is_live(fleet: ExampleFleet, world: World) -> None:
    shown = fleet.prove(world.blog if fleet.name == "dancer2_blog" else {})
    assert "Result: PASS" in shown, shown


class ChatClient:
    """Somebody in the room of the example with WebSockets."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._session = self._runner.run(self._open())
        self._socket = self._runner.run(self._connect(f"{url}/room"))
        self.welcome = self.receive()

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def _connect(self, url: str) -> aiohttp.ClientWebSocketResponse:
        return await self._session.ws_connect(url)

    def say(self, text: str) -> None:
        self._runner.run(self._socket.send_json({"name": "Ada", "text": text}))

    def receive(self) -> dict[str, object]:
        message: dict[str, object] = self._runner.run(self._socket.receive_json(timeout=10))
        return message

    def leave(self) -> None:
        self._runner.run(self._session.close())
        self._runner.close()


@only("mojolicious_chat")
def test_a_websocket_stays_on_its_release_across_a_switch_and_a_rollback(fleet: ExampleFleet) -> None:
    old = ChatClient(fleet.url)
    fleet.run("deploy", ref="v2").expect("live and confirmed")
    new = ChatClient(fleet.url)
    assert (old.welcome["release"], new.welcome["release"]) == ("v1", "v2")
    old.say("Still here")
    heard = old.receive()
    assert (heard["text"], heard["release"]) == ("Still here", "v1")

    fleet.run("rollback").expect("live and confirmed")
    new.say("I stay, too")
    heard = new.receive()
    assert (heard["text"], heard["release"]) == ("I stay, too", "v2")
    old.leave()
    new.leave()


@only("mojolicious_chat")
def test_a_websocket_s_handshake_names_its_revision(fleet: ExampleFleet) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    with requests.get(f"{fleet.url}/room", headers=headers, timeout=10, stream=True) as answer:
        assert answer.status_code == 101
        plain = requests.get(fleet.url, timeout=10)
        assert answer.headers["X-Revision"] == plain.headers["X-Revision"]


@only("dancer2_blog")
def test_a_post_is_there_after_a_switch(fleet: ExampleFleet, world: World) -> None:
    """Both colors use one database."""
    token = {"Authorization": f"Bearer {world.blog['BLOG_TOKEN']}"}
    post = {"title": "Zero downtime", "text": "Nobody noticed."}
    assert requests.post(f"{fleet.url}/posts", data=post, headers=token, timeout=10).status_code == 201
    fleet.run("deploy", ref="v2").expect("live and confirmed")
    assert "Zero downtime" in fleet.page()
    # The old release goes on writing beside a column that it does not know.
    fleet.run("rollback").expect("live and confirmed")
    assert requests.post(f"{fleet.url}/posts", data=post, headers=token, timeout=10).status_code == 201


@only("cgi_guestbook")
def test_an_entry_is_there_when_its_droplet_has_another_release(fleet: ExampleFleet) -> None:
    """A shared path is a droplet's own, so the entry is away while the other color is live."""
    written_on = fleet.live_droplet().name
    answer = requests.post(fleet.url, data={"name": "Ada", "text": "I was here."}, timeout=10)
    assert answer.ok
    for ref in ("v1", "v2"):
        fleet.run("deploy", ref=ref, force=True).expect("live and confirmed")
    assert fleet.live_droplet().name == written_on
    assert "v2" in fleet.page()
    assert "I was here." in fleet.page()
