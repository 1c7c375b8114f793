"""The agent on a proxy: how it is called, and who may change anything."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.protocol import Verb
from bluegreen.agent_bundle import AGENT_DIRECTORY, memory_command, memory_input
from bluegreen.color import Color
from tests.unit.local_haproxy import ADDRESSES, REVISIONS, Deployed, LocalHaproxy, fire, snapshot

MUTATING = ("sync", "switch", "confirm", "revert", "renew")


@pytest.mark.parametrize("path", sorted(AGENT_DIRECTORY.rglob("*.py")), ids=lambda path: path.name)
def test_it_is_python_3_9_and_needs_the_standard_library_only(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert {str(name).split(".")[0] for name in modules} <= {*sys.stdlib_module_names, "agent"}


def test_a_second_run_is_told_who_holds_the_lock_and_since_when(proxy: LocalHaproxy) -> None:
    proxy.ok("lock", owner="deploy of alice", run_id="run-1", ref="v1")
    code, message = proxy.refused("lock", owner="deploy of bob", run_id="run-2", ref="v2")
    assert code == "locked"
    assert "deploy of alice" in message
    assert "run-1" in message
    assert time.strftime("%Y-%m-%d") in message


def test_a_retried_lock_is_the_same_lock(proxy: LocalHaproxy) -> None:
    request = {"owner": "deploy", "run_id": "run-1", "ref": "v1"}
    assert proxy.ok("lock", **request)["token"] == proxy.ok("lock", **request)["token"]


def test_unlocking_twice_does_not_take_the_lock_from_the_next_run(proxy: LocalHaproxy) -> None:
    first = proxy.ok("lock", owner="deploy", run_id="run-1", ref="v1")["token"]
    proxy.ok("unlock", token=first)
    second = proxy.ok("lock", owner="deploy", run_id="run-2", ref="v2")["token"]
    proxy.ok("unlock", token=first)
    assert proxy.ok("status")["lock"]["run_id"] == "run-2"
    assert second > first


@pytest.mark.parametrize("verb", MUTATING)
def test_a_run_that_has_lost_the_lock_changes_nothing(deployed: Deployed, verb: str) -> None:
    world = deployed.world
    old = deployed.token
    world.ok("unlock", token=old)
    world.ok("lock", owner="deploy", run_id="run-2", ref="v2")
    requests: dict[str, dict[str, Any]] = {
        "sync": deployed.sync_request(world.render(health_path="/other")),
        "switch": deployed.switch_request(Color.GREEN),
        "confirm": {"token": old, "revision": REVISIONS[Color.BLUE]},
        "revert": {"token": old},
        "renew": {"token": old},
    }
    before, holder = snapshot(world), deployed.status()["lock"]
    code, message = world.refused(verb, **requests[verb])
    assert code == "lock_lost"
    assert "run-2" in message
    assert (snapshot(world), deployed.status()["lock"]) == (before, holder)
    assert deployed.maps()[0] == deployed.maps()[1]


def test_no_run_starts_under_another_ones_switch(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    code, message = deployed.world.refused("lock", owner="deploy", run_id="run-2", ref="v2")
    assert (code, "run-1" in message) == ("locked", True)
    assert (deployed.status()["live"], deployed.pending() is None) == ("green", False)


def test_a_switch_that_its_run_left_unconfirmed_is_taken_back_when_the_lock_is_released(
    deployed: Deployed,
) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("unlock", token=deployed.token)
    status = deployed.status()
    assert (status["live"], status["pending"], status["lock"]) == ("blue", None, None)
    assert "stop bluegreen-revert-*.timer bluegreen-revert-*.service" in deployed.world.systemctl_calls()


def test_a_switch_that_all_have_agreed_to_keep_is_left_alone_when_the_lock_is_released(
    deployed: Deployed,
) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("confirm", token=deployed.token, revision=REVISIONS[Color.GREEN], prepare_only=True)
    deployed.world.ok("unlock", token=deployed.token)
    status = deployed.status()
    assert (status["live"], status["pending"]["prepared"], status["lock"]) == ("green", True, None)


def test_an_old_token_takes_nothing_back(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.world.ok("unlock", token=deployed.token - 1)
    assert (deployed.status()["live"], deployed.pending() is None) == ("green", False)


def test_a_switch_that_cannot_be_taken_back_at_the_end_stays_the_timers(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    deployed.set_health(Color.BLUE, False, False)
    deployed.world.ok("unlock", token=deployed.token)
    status = deployed.status()
    assert (status["live"], status["lock"]) == ("green", None)
    deployed.set_health(Color.BLUE, True, True)
    assert fire(deployed.world, -1)["reverted"]
    assert deployed.status()["live"] == "blue"


@pytest.mark.parametrize("next_run", ["run-2", "run-1"])
def test_a_run_that_begins_takes_an_unconfirmed_switch_back_also_its_own_of_before_it_was_cleared(
    deployed: Deployed, next_run: str
) -> None:
    deployed.switch(Color.GREEN)
    over = {"over": deployed.token} if next_run == "run-2" else {}
    deployed.world.ok("lock", owner="deploy", run_id=next_run, ref="v2", **over)
    status = deployed.status()
    assert (status["live"], status["pending"]) == ("blue", None)
    assert (status["last_revert"]["run_id"], status["last_revert"]["to"]) == ("run-1", "blue")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "usage"),
        (["explode"], "usage"),
        (["lock", "{"], "not JSON"),
        (["lock", "[]"], "not a JSON object"),
        (["lock", '{"owner": "x"}'], "run_id"),
        (["lock", '{"owner": "x\\ny", "run_id": "r", "ref": "v1"}'], "owner"),
        (["probe", '{"servers": [{"address": "10.0.0.1", "port": 0}], "path": "/", "timeout": 1}'], "port"),
        (
            [
                "probe",
                '{"servers": [{"address": "10.0.0.1", "port": 80}], "path": "/ HTTP/1.0", "timeout": 1}',
            ],
            "path",
        ),
        (["probe", '{"servers": [], "path": "/", "timeout": 1}'], "servers"),
        (["probe", '{"servers": ["10.0.0.1"], "path": "/", "timeout": 1}'], "servers"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(
    proxy: LocalHaproxy, arguments: list[str], told: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(proxy.installed_agent), *arguments],
        env=proxy.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["error"]) == (1, False, "bad_request")
    assert told in answer["message"]
    assert done.stderr == ""


def test_status_reads_everything_and_writes_nothing_even_from_memory(deployed: Deployed) -> None:
    deployed.switch(Color.GREEN)
    before = snapshot(deployed.world)
    done = subprocess.run(
        memory_command(Verb.STATUS),
        input=memory_input({}),
        env=deployed.world.environment,
        capture_output=True,
        check=True,
    )
    assert snapshot(deployed.world) == before
    status = json.loads(done.stdout)
    assert (status["live"], status["idle"], status["consistent"]) == ("green", "blue", True)
    assert status["map_file"] == status["map_running"] == {"live": "green", "idle": "blue", "idle_share": 0}
    assert status["haproxy"]["running"]
    assert [server["name"] for server in status["servers"]["blue"]] == [
        "my-perl-app-blue-1",
        "my-perl-app-blue-2",
    ]
    assert status["lock"]["run_id"] == "run-1"
    assert (status["pending"]["from"], status["pending"]["to"]) == ("blue", "green")
    assert status["counters"]["blue"]["requests"] >= 1


def test_probe_tells_what_a_server_answers_and_what_went_wrong(proxy: LocalHaproxy) -> None:
    port = proxy.app_port
    servers = [{"address": address, "port": port} for address in ("127.0.0.13", "127.0.0.99")]
    answer, missing = proxy.ok("probe", servers=servers, path="/health", timeout=2)["answers"]
    assert (answer["status"], answer["revision"], answer["error"]) == (200, REVISIONS[Color.GREEN], None)
    assert missing["status"] is None
    assert "refused" in missing["error"]


def test_a_probe_of_many_servers_takes_no_longer_than_that_of_one(deployed: Deployed) -> None:
    for backend in deployed.world.backends[Color.GREEN]:
        backend.health_takes = 1.0
    addresses = [*ADDRESSES[Color.BLUE], *ADDRESSES[Color.GREEN] * 40]
    servers = [{"address": address, "port": deployed.world.app_port} for address in addresses]
    answers = deployed.world.ok("probe", servers=servers, path="/health", timeout=30)["answers"]
    colors = [Color.BLUE] * 2 + [Color.GREEN] * 80
    assert [answer["revision"] for answer in answers] == [REVISIONS[color] for color in colors]
    assert max(answer["milliseconds"] for answer in answers) < 15_000
