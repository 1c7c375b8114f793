"""Droplets are real machines: what their users rely on, and what can happen to them."""

from __future__ import annotations

import socket
import subprocess
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox import Machine, Sandbox, SandboxError
from tests.sandbox.droplets import APT_SECONDS, Shop
from tests.waiting import until

pytestmark = pytest.mark.sandbox

USER_DATA = """\
#cloud-config
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
{private}
  ed25519_public: {public}
users:
  - default
  - name: deploy
    shell: /bin/bash
    sudo: ALL=(ALL) NOPASSWD:ALL
    ssh_authorized_keys: [{user_key}]
packages: [haproxy]
write_files:
  - path: /etc/shop/secret
    content: aHVzaA==
    encoding: b64
    owner: root:deploy
    permissions: '0640'
    defer: true
runcmd:
  - echo shell$((40 + 2)) > /root/ran-shell
  - [touch, "/root/ran list"]
"""


@pytest.fixture(scope="module")
def host_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = tmp_path_factory.mktemp("host") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    return key


@pytest.fixture(scope="module")
def machines(shop: Shop, private_key: Path, host_key: Path) -> Iterator[tuple[Machine, Machine]]:
    """A droplet with user data, and a bare one."""
    user_data = USER_DATA.format(
        private=textwrap.indent(host_key.read_text(), "    "),
        public=host_key.with_suffix(".pub").read_text().strip(),
        user_key=private_key.with_suffix(".pub").read_text().strip(),
    )
    (full,) = shop.order("full-1", user_data=user_data, tags=("app:shop", "role:full"))
    (bare,) = shop.order("bare-1")
    for machine in (full, bare):
        machine.wait_ready()
        shop.wait_for_ssh(machine)
    yield full, bare
    for machine in (full, bare):
        shop.client().droplets.destroy(machine.droplet_id)


def known_hosts(path: Path, machine: Machine, public_key: str) -> Path:
    path.write_text(f"{machine.address} {public_key}\n")
    return path


def test_user_data_is_carried_out(
    shop: Shop, machines: tuple[Machine, Machine], host_key: Path, tmp_path: Path
) -> None:
    full, _ = machines
    hosts = known_hosts(tmp_path / "hosts", full, host_key.with_suffix(".pub").read_text())
    assert shop.ssh(full, "cloud-init status --wait", known_hosts=hosts).stdout == "status: done\n"
    assert shop.ssh(full, "id -un && sudo -n id -un", user="deploy").stdout == "deploy\nroot\n"
    shown = shop.ssh(full, "stat -c '%U %G %a' /etc/shop/secret && cat /etc/shop/secret").stdout
    assert shown == "root deploy 640\nhush"
    assert shop.ssh(full, "cat /root/ran-shell; ls '/root/ran list'").stdout == "shell42\n/root/ran list\n"
    assert shop.ssh(full, "ls /var/lib/cloud/instance/boot-finished").returncode == 0
    assert shop.ssh(full, "hostname; systemctl is-system-running --wait").stdout == "full-1\nrunning\n"


def test_haproxy_runs_only_where_it_was_asked_for(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    answers = [shop.ssh(machine, "systemctl is-active haproxy").stdout for machine in machines]
    assert answers == ["active\n", "inactive\n"]


def test_no_two_machines_are_the_same(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    asked = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"
    full, bare = (shop.ssh(machine, asked).stdout.split() for machine in machines)
    assert len(full[0]) == len(bare[0]) == 32
    assert full[0] != bare[0]
    assert full[2] != bare[2]


def test_machines_reach_each_other_and_nothing_else(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    full, bare = machines
    connect = "timeout {2} bash -c 'exec 3<>/dev/tcp/{0}/{1} && head -c 7 <&3'"
    assert shop.ssh(full, connect.format(bare.private_address, 22, 20)).stdout == "SSH-2.0"
    assert shop.ssh(full, connect.format(bare.address, 22, 20)).stdout == "SSH-2.0"
    assert shop.ssh(full, connect.format("192.0.2.1", 80, 3)).returncode != 0


def test_user_data_that_cannot_be_carried_out_is_reported(shop: Shop) -> None:
    user_data = "#cloud-config\npackages: [none-such]\nruncmd: ['exit 3']\nsnap: {}\n"
    (machine,) = shop.order("wrong-1", user_data=user_data)
    with pytest.raises(SandboxError, match="install none-such: exit status 100"):
        machine.wait_ready(APT_SECONDS)
    said = machine.run("cloud-init status --long", check=False).stdout
    assert "status: error" in said
    assert "exit status 3" in said
    assert "does not know 'snap'" in said
    shop.client().droplets.destroy(machine.droplet_id)


def test_a_machine_keeps_its_disk_when_its_power_is_cut(
    shop: Shop, machines: tuple[Machine, Machine]
) -> None:
    _, bare = machines
    shop.ssh(bare, "echo kept > /root/kept; echo lost > /run/lost; sync")
    bare.power_off()
    assert shop.ssh(bare, "true").returncode == 255
    assert shop.client().droplets.get(bare.droplet_id)["droplet"]["status"] == "off"
    bare.power_on()
    shop.wait_for_ssh(bare)
    assert shop.ssh(bare, "cat /root/kept; ls /run/lost").stdout == "kept\n"


@pytest.mark.parametrize("how", ["reboot from inside", "reboot by the API"])
def test_a_machine_restarts(shop: Shop, machines: tuple[Machine, Machine], how: str) -> None:
    _, bare = machines
    boot = "cat /proc/1/stat | cut -d' ' -f22"
    before = shop.ssh(bare, boot).stdout
    if how == "reboot from inside":
        shop.ssh(bare, "systemctl reboot")
    else:
        shop.client().droplet_actions.post(bare.droplet_id, body={"type": "reboot"})
    until(lambda: shop.ssh(bare, boot).stdout not in ("", before), "it has restarted")
    assert bare.status == "active"


def test_a_machine_that_is_shut_down_from_inside_is_off(
    shop: Shop, machines: tuple[Machine, Machine]
) -> None:
    _, bare = machines
    shop.ssh(bare, "systemctl poweroff")
    until(lambda: bare.status == "off", "it is off")
    bare.power_on()
    shop.wait_for_ssh(bare)


def test_a_full_disk_is_full(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    _, bare = machines
    bare.fill_disk()
    said = shop.ssh(bare, "echo something > /root/new").stderr
    assert "No space left on device" in said
    bare.free_disk()
    assert shop.ssh(bare, "echo something > /root/new && cat /root/new").stdout == "something\n"


def test_a_cut_link_is_silent_until_it_is_restored(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    _, bare = machines
    bare.cut_link()
    started = time.monotonic()
    with pytest.raises(OSError, match=r"timed out|No route|unreachable"):
        socket.create_connection((bare.address, 22), timeout=1.5)
    assert time.monotonic() - started > 1
    bare.restore_link()
    shop.wait_for_ssh(bare)


def test_a_delayed_machine_answers_late(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    full, bare = machines

    def seconds_from_host() -> float:
        started = time.monotonic()
        with socket.create_connection((bare.address, 22), timeout=5) as connection:
            assert connection.recv(7) == b"SSH-2.0"
        return time.monotonic() - started

    def seconds_from_machine() -> float:
        command = f"TIMEFORMAT=%R; time head -c 7 < /dev/tcp/{bare.private_address}/22 > /dev/null"
        return float(full.run(["bash", "-c", command]).stderr)

    bare.delay(1200)
    assert seconds_from_host() >= 0.6
    assert seconds_from_machine() >= 0.6
    assert shop.ssh(bare, "head -c 3000000 /dev/zero | wc -c").stdout == "3000000\n"
    bare.undelay()
    until(lambda: seconds_from_host() < 0.6, "the host gets a quick answer")
    until(lambda: seconds_from_machine() < 0.6, "the other machine gets a quick answer")


def test_killing_a_process_spares_all_other_machines(shop: Shop, machines: tuple[Machine, Machine]) -> None:
    full, bare = machines
    sleeper = "sleep 3141"
    for machine in machines:
        machine.run(f"setsid {sleeper} >/dev/null 2>&1 &")
        sleeps = f"pgrep -f '^{sleeper}'"
        until(lambda: machine.run(sleeps, check=False).returncode == 0, "it sleeps")  # noqa: B023
    with subprocess.Popen(sleeper.split()) as own:
        assert "sleep" in bare.kill(sleeper)
        assert shop.ssh(bare, f"pgrep -f '^{sleeper}'").returncode == 1
        assert shop.ssh(full, f"pgrep -f '^{sleeper}'").returncode == 0
        assert own.poll() is None
        own.kill()
    full.kill(sleeper)
    with pytest.raises(SandboxError, match="no process matches"):
        bare.kill(sleeper)


def test_a_changed_host_key_is_noticed(shop: Shop, machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    _, bare = machines
    before = bare.run("cat /etc/ssh/ssh_host_ed25519_key.pub").stdout
    hosts = known_hosts(tmp_path / "hosts", bare, before)
    assert shop.ssh(bare, "true", known_hosts=hosts).returncode == 0
    after = bare.change_host_key()
    shop.wait_for_ssh(bare)
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in shop.ssh(bare, "true", known_hosts=hosts).stderr
    known_hosts(hosts, bare, after)
    assert shop.ssh(bare, "true", known_hosts=hosts).returncode == 0


@pytest.mark.parametrize("url", ["git_url", "forge_url", "forge_ssh_url"])
def test_the_forge_is_reached_from_here_and_from_no_droplet(
    sandbox: Sandbox, machines: tuple[Machine, Machine], url: str
) -> None:
    address = urlsplit(getattr(sandbox, url))
    socket.create_connection((address.hostname, address.port), timeout=5).close()
    for source in (machines[1].address, machines[1].private_address):
        asked = (address.hostname, address.port), 5, (source, 0)
        connect = f"import socket; socket.create_connection(*{asked!r})"
        refused = machines[1].run(["python3", "-c", connect], check=False)
        assert "Connection refused" in refused.stderr


def test_a_phantom_droplet_has_addresses_and_no_machine(sandbox: Sandbox, shop: Shop) -> None:
    (number,) = sandbox.add_phantoms(1, "ghost", private=False)
    shown = shop.client().droplets.get(number)["droplet"]
    (network,) = shown["networks"]["v4"]
    route = subprocess.run(
        ["ip", "route", "get", network["ip_address"]], capture_output=True, text=True, check=True
    )
    assert "dev bgs" in route.stdout
    shop.client().droplets.destroy(number)


def test_the_private_address_can_be_hidden(
    sandbox: Sandbox, shop: Shop, machines: tuple[Machine, Machine]
) -> None:
    _, bare = machines
    bare.hide_private_address()
    shown = shop.client().droplets.get(bare.droplet_id)["droplet"]["networks"]["v4"]
    assert [network["type"] for network in shown] == ["public"]
    bare.show_private_address()
