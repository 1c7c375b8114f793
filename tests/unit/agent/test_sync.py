"""The agent on a proxy: HAProxy's configuration, and whether it is what runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bluegreen.color import Color
from tests.unit.local_haproxy import INITIAL, Deployed, LocalHaproxy, lock, snapshot
from tests.waiting import until


def distribution_default(world: LocalHaproxy) -> str:
    """What a package brings: a HAProxy that serves nothing."""
    return (
        f"global\n  stats socket {world.root}/run/haproxy/admin.sock level admin\n"
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
    )


def backups(world: LocalHaproxy) -> list[Path]:
    return sorted(world.config.parent.glob("haproxy.cfg.*.bak"))


def reloads(world: LocalHaproxy) -> int:
    return world.systemctl_calls().count("reload haproxy")


def test_the_first_sync_takes_over_from_the_distributions_configuration(proxy: LocalHaproxy) -> None:
    proxy.start(distribution_default(proxy))
    answer = proxy.ok("sync", token=lock(proxy), config=proxy.render(), initial=INITIAL)
    assert (answer["changed"], answer["reloaded"]) == (True, True)
    assert proxy.get() == (503, None, None)
    status = proxy.ok("status")
    assert (status["live"], status["idle"], status["consistent"]) == (None, "blue", True)
    assert [file.read_text() for file in backups(proxy)] == [distribution_default(proxy)]


def test_a_haproxy_that_does_not_run_is_started(proxy: LocalHaproxy) -> None:
    proxy.ok("sync", token=lock(proxy), config=proxy.render(), initial=INITIAL)
    assert proxy.get()[0] == 503
    assert proxy.ok("status")["haproxy"]["running"]


def test_what_runs_already_is_not_reloaded(deployed: Deployed) -> None:
    before = snapshot(deployed.world)
    answer = deployed.sync(deployed.world.render())
    assert (answer["changed"], answer["reloaded"]) == (False, False)
    assert snapshot(deployed.world) == before


def test_a_reload_keeps_live_live(deployed: Deployed) -> None:
    answer = deployed.sync(deployed.world.render(timeout_server=51))
    assert (answer["changed"], answer["reloaded"], reloads(deployed.world)) == (True, True, 1)
    assert deployed.world.get()[:2] == (200, "blue")
    assert backups(deployed.world) == []


def test_of_files_that_a_hand_has_edited_the_last_ten_are_kept(deployed: Deployed) -> None:
    for number in range(12):
        old = deployed.world.config.with_name(f"haproxy.cfg.202611{number:02}T000000Z.bak")
        old.write_text(f"# {number}\n")
    kept_by_hand = deployed.world.config.with_name("haproxy.cfg.before.bak")
    kept_by_hand.write_text("# somebody's own\n")
    deployed.world.config.write_text("# edited by hand\n")
    deployed.sync(deployed.world.render(timeout_server=51))
    assert [file.read_text() for file in backups(deployed.world)] == [
        *(f"# {number}\n" for number in range(3, 12)),
        "# edited by hand\n",
        "# somebody's own\n",
    ]


@pytest.mark.parametrize("damage", ["  blub 1\n", "  server x not-an-address check\n"])
def test_an_invalid_configuration_is_refused_with_haproxys_words(deployed: Deployed, damage: str) -> None:
    before = snapshot(deployed.world)
    code, message = deployed.world.refused("sync", **deployed.sync_request(deployed.world.render() + damage))
    assert code == "invalid_config"
    assert damage.split()[1] in message or "blub" in message
    assert snapshot(deployed.world) == before
    assert deployed.world.get()[:2] == (200, "blue")


def test_an_invalid_first_configuration_leaves_no_map_behind(proxy: LocalHaproxy) -> None:
    token = lock(proxy)
    before = snapshot(proxy)
    assert proxy.refused("sync", token=token, config="blub\n", initial=INITIAL)[0] == "invalid_config"
    assert snapshot(proxy) == before


def test_a_configuration_that_does_not_load_is_taken_back(deployed: Deployed) -> None:
    world = deployed.world
    good = world.config.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        occupied = world.render().replace(
            f"bind 127.0.0.1:{world.http_port}\n",
            f"bind 127.0.0.1:{world.http_port}\n    bind 127.0.0.1:{taken.getsockname()[1]}\n",
        )
        code, message = world.refused("sync", **deployed.sync_request(occupied))
    assert code == "reload_failed"
    assert "the old one is back" in message
    assert world.config.read_bytes() == good
    assert world.get()[:2] == (200, "blue")
    assert deployed.sync(world.render(timeout_server=51))["reloaded"]
    assert world.get()[:2] == (200, "blue")


def hang_at_the_next_reload(world: LocalHaproxy) -> None:
    """Let one reload wait for a systemd that does not answer; those after it go on."""
    program, mark = world.root / "bin/systemctl", world.root / "hangs"
    mark.touch()
    hangs = f"if [ $1 = reload ] && [ -e {mark} ]; then rm {mark}; exec sleep 300; fi\n"
    shebang, _, rest = program.read_text().partition("\n")
    program.write_text(f"{shebang}\n{hangs}{rest}")


@pytest.mark.timeout(120)
def test_after_a_reload_that_hangs_there_is_time_left_to_go_back(deployed: Deployed) -> None:
    world = deployed.world
    good = world.config.read_bytes()
    # So that the call has seconds instead of minutes.
    deployed.switch(Color.GREEN, confirm_within=12)
    hang_at_the_next_reload(world)
    _, message = world.refused("sync", **deployed.sync_request(world.render(timeout_server=51)))
    assert "systemctl did not end" in message
    assert message.endswith("the old one is back")
    assert world.config.read_bytes() == good
    assert deployed.status()["haproxy"]["config_sha256"] is not None


def test_a_hand_edited_file_is_kept_aside_and_replaced(deployed: Deployed) -> None:
    world = deployed.world
    world.config.write_text(world.config.read_text() + "# by hand\n")
    answer = deployed.sync(world.render())
    assert (answer["changed"], answer["reloaded"]) == (True, False)
    assert world.config.read_text() == world.render()
    assert [file.read_text().endswith("# by hand\n") for file in backups(world)] == [True]


def test_the_configuration_and_its_copies_are_not_for_everybodys_eyes(deployed: Deployed) -> None:
    deployed.world.config.write_text("# by hand\n")
    deployed.sync(deployed.world.render())
    for file in (deployed.world.config, *backups(deployed.world)):
        assert file.stat().st_mode & 0o037 == 0


def test_a_reload_by_hand_is_noticed(deployed: Deployed) -> None:
    world = deployed.world
    known = deployed.status()["haproxy"]["config_sha256"]
    world.config.write_text(world.render(timeout_server=51))
    world.reload_by_hand()
    until(lambda: deployed.status()["haproxy"]["config_sha256"] is None)
    assert deployed.sync(world.render())["reloaded"]
    assert deployed.status()["haproxy"]["config_sha256"] == known


def test_a_map_file_that_lags_behind_does_not_move_traffic_at_a_reload(deployed: Deployed) -> None:
    deployed.world.map.write_text("live green\nidle blue\nidle_share 0\n")
    assert deployed.sync(deployed.world.render(timeout_server=51))["reloaded"]
    assert deployed.world.get()[:2] == (200, "blue")
    assert deployed.maps() == ("live blue\nidle green\nidle_share 0\n",) * 2


@pytest.mark.parametrize("content", ["", "live blue\n", "live purple\nidle green\nidle_share 0\n"])
def test_a_damaged_map_file_is_repaired_from_what_runs(deployed: Deployed, content: str) -> None:
    deployed.world.map.write_text(content)
    assert not deployed.status()["consistent"]
    assert deployed.sync(deployed.world.render())["changed"]
    assert deployed.maps() == ("live blue\nidle green\nidle_share 0\n",) * 2


def test_a_damaged_running_map_is_repaired_from_the_file(deployed: Deployed) -> None:
    deployed.world.ask(f"del map {deployed.world.map} live")
    assert deployed.world.get() == (503, None, None)
    deployed.sync(deployed.world.render())
    assert deployed.world.get()[:2] == (200, "blue")


def test_nobody_guesses_who_is_live(proxy: LocalHaproxy) -> None:
    proxy.map.write_text("")
    token = lock(proxy)
    before = snapshot(proxy)
    code, message = proxy.refused("sync", token=token, config=proxy.render(), initial=INITIAL)
    assert code == "bad_map"
    assert str(proxy.map) in message
    assert snapshot(proxy) == before


def test_a_file_that_was_installed_and_never_loaded_is_loaded_by_the_next_sync(deployed: Deployed) -> None:
    """A run that died between installing the file and reloading has left a file that does not run."""
    world = deployed.world
    world.config.write_text(world.render(timeout_server=51))
    assert deployed.sync(world.render(timeout_server=51))["reloaded"]
    assert deployed.status()["live"] == Color.BLUE


def test_preparing_refuses_what_haproxy_would_refuse_and_changes_nothing(deployed: Deployed) -> None:
    before = snapshot(deployed.world)
    bad = deployed.sync_request("no configuration at all\n")
    assert deployed.world.refused("sync", **bad, prepare_only=True)[0] == "invalid_config"
    good = deployed.sync_request(deployed.world.render(health_path="/other"))
    assert deployed.world.ok("sync", **good, prepare_only=True)["prepared"]
    assert snapshot(deployed.world) == before
    assert deployed.sync(deployed.world.render(health_path="/other"))["reloaded"]
