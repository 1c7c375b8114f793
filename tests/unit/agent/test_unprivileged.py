"""HAProxy without root's rights: the drop-in of its unit follows the configuration."""

from __future__ import annotations

import os
from pathlib import Path

from agent.paths import DROP_IN, UNITS
from agent.proxy.unprivileged import drop_in
from tests.unit.local_haproxy import INITIAL, Deployed, LocalHaproxy, lock

# As an earlier version of the project had it; a test need not do it.
OLD = "\nglobal\n.if 0\n    chroot /var/lib/haproxy\n.endif\n"


def installed(world: LocalHaproxy) -> Path:
    return world.root / UNITS / DROP_IN


def test_a_sync_installs_it_once(deployed: Deployed) -> None:
    world = deployed.world
    assert installed(world).read_bytes() == drop_in()
    assert world.systemctl_calls().count("daemon-reload") == 1
    deployed.sync(world.render(timeout_server=51))
    assert world.systemctl_calls().count("daemon-reload") == 1
    installed(world).write_text("[Service]\nUser=root\n")
    deployed.sync(world.render())
    assert installed(world).read_bytes() == drop_in()


def test_going_back_to_a_configuration_that_needs_root_takes_it_away(deployed: Deployed) -> None:
    world = deployed.world
    with_chroot = world.render().replace("\nglobal\n", OLD)
    deployed.sync(with_chroot)
    assert not installed(world).exists()
    occupied = world.render().replace("bind 127.0.0.1:", "bind 192.0.2.1:1\n    bind 127.0.0.1:", 1)
    code, message = world.refused("sync", **deployed.sync_request(occupied))
    assert (code, world.config.read_text()) == ("reload_failed", with_chroot), message
    assert not installed(world).exists()
    deployed.sync(world.render())
    assert installed(world).exists()


def test_a_haproxy_that_serves_nobody_yet_is_restarted_rather_than_reloaded(proxy: LocalHaproxy) -> None:
    proxy.start(f"global\n    stats socket {proxy.root}/run/haproxy/admin.sock level admin\n")
    proxy.ok("sync", token=lock(proxy), config=proxy.render(), initial=INITIAL)
    calls = proxy.systemctl_calls()
    expected = "restart haproxy" if os.geteuid() == 0 else "reload haproxy"
    assert [call for call in calls if call.split()[0] in ("restart", "reload")] == [expected]


def test_haproxy_s_group_reads_the_configuration_and_its_owner_only_writes_it(deployed: Deployed) -> None:
    config = deployed.world.config
    config.chmod(0o600)
    deployed.sync(deployed.world.render())
    assert config.stat().st_mode & 0o777 == 0o640
    if os.geteuid() == 0:
        assert config.group() == "haproxy"
