"""What a switch and a rollback do to logged-in clients: measured, and compared with the page on sessions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bluegreen.color import Color
from tests.members import members
from tests.unit.local_haproxy import REVISIONS, Deployed
from tests.unit.members_world import redis, serving, skip_unless_there_are_modules
from tests.waiting import until

PAGE = Path(__file__).resolve().parents[3] / "docs/sessions.md"
ROW = re.compile(r"^\| ([^|]*) \| `(none|cookie)` \| (\w+) \| (\w+) \| (\w+) \|", re.MULTILINE)
# Odd, so that HAProxy's turns among two droplets do not fall in step with the clients.
CLIENTS = 25
# By the words of the page: SESSION_STORE, and the server that the app is run with.
STORES = {
    "a cookie that the app signs": ("cookie", "starman"),
    "Redis": ("redis", "starman"),
    "files of the droplet": ("files", "starman"),
    "memory of the process": ("memory", "twiggy"),
}


def table() -> list[tuple[str, ...]]:
    return [match.groups() for match in ROW.finditer(PAGE.read_text())]


def moved(deployed: Deployed, color: Color) -> None:
    deployed.switch(color)
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[color])


def says(word: str, logged_out: int) -> bool:
    """Whether the page's word describes how many were logged out."""
    if word == "some":
        return logged_out > 0
    return logged_out == {"nobody": 0, "everybody": CLIENTS}[word]


def test_the_page_has_each_store() -> None:
    assert {row[0] for row in table()} == set(STORES)


def environment(store: str, redis_url: str) -> dict[str, str]:
    return {"SESSION_STORE": store, "REDIS_URL": redis_url, "SESSION_SECRET": "not-a-secret"}


@pytest.mark.parametrize(("store", "affinity", *("still", "switch", "rollback")), table())
def test_the_page_says_who_is_logged_out(
    deployed: Deployed, tmp_path: Path, store: str, affinity: str, still: str, switch: str, rollback: str
) -> None:
    skip_unless_there_are_modules()
    variable, preset = STORES[store]
    deployed.sync(deployed.world.render(affinity=affinity == "cookie"))
    until(lambda: deployed.status()["haproxy"]["old_workers"] == 0, "no worker has the configuration before")
    with (
        redis() as url,
        serving(deployed, tmp_path, f"preset: {preset}\nworkers: 3", environment(variable, url)),
        members(f"http://127.0.0.1:{deployed.world.http_port}", CLIENTS) as clients,
    ):
        seen = [clients.logged_out()]
        for color in (Color.GREEN, Color.BLUE):
            moved(deployed, color)
            seen.append(clients.logged_out())
    assert clients.wrong == []
    assert [says(*one) for one in zip((still, switch, rollback), seen, strict=True)] == [True] * 3, seen


@pytest.mark.parametrize("store", ["cookie", "redis"])
def test_nobody_is_logged_out_by_five_switches_and_two_rollbacks(
    deployed: Deployed, tmp_path: Path, store: str
) -> None:
    skip_unless_there_are_modules()
    with (
        redis() as url,
        serving(deployed, tmp_path, "workers: 3", environment(store, url)),
        members(f"http://127.0.0.1:{deployed.world.http_port}", CLIENTS) as clients,
    ):
        for color in [Color.GREEN, Color.BLUE] * 3 + [Color.GREEN]:
            moved(deployed, color)
            assert clients.logged_out() == 0
    assert clients.wrong == []
