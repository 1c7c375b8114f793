"""What droplets install comes through the sandbox: Debian's packages, and distributions of a CPAN mirror."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Machine, Sandbox
from tests.sandbox.droplets import APT_SECONDS, Shop

pytestmark = pytest.mark.sandbox

RELEASES = {"debian-12-x64": "12", "debian-13-x64": "13"}
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=0 install --yes"


@pytest.fixture(scope="module")
def machines(shop: Shop) -> Iterator[dict[str, Machine]]:
    """A droplet of each Debian, by its image, on which user data has installed a package."""
    user_data = "#cloud-config\npackages: [libpq5]\n"
    machines = {
        image: shop.order(f"packages-{release}", user_data=user_data, image=image)[0]
        for image, release in RELEASES.items()
    }
    for machine in machines.values():
        machine.wait_ready(APT_SECONDS)
    yield machines
    for machine in machines.values():
        shop.client().droplets.destroy(machine.droplet_id)


@pytest.fixture
def machine(machines: dict[str, Machine]) -> Machine:
    return machines["debian-12-x64"]


@pytest.mark.parametrize("image", RELEASES)
def test_user_data_installs_a_package_that_is_not_in_the_image(
    machines: dict[str, Machine], image: str
) -> None:
    shown = machines[image].run("cat /etc/debian_version; dpkg-query --show --showformat='${Status}' libpq5")
    version, _, status = shown.stdout.partition("\n")
    assert version.startswith(RELEASES[image])
    assert status == "install ok installed"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"kind": "altered"}, "Hash Sum mismatch"),
        ({"kind": "status", "status": 503}, "503"),
        ({"kind": "cut"}, "Connection|closed|File has unexpected size"),
        ({"kind": "away"}, "Connection refused"),
    ],
)
def test_apt_sees_the_faults_of_the_mirror(
    sandbox: Sandbox, machine: Machine, fault: dict[str, Any], seen: str
) -> None:
    sandbox.fault("debian", **fault, path="/debian/pool/*")
    done = machine.run(f"{INSTALL} hello", check=False)
    assert done.returncode == 100
    assert re.search(seen, done.stderr), done.stderr


def test_what_a_fault_has_kept_from_apt_is_installed_after_it(sandbox: Sandbox, machine: Machine) -> None:
    sandbox.fault("debian", "slow", seconds=0.2, path="/debian/pool/*")
    machine.run(f"{INSTALL} hello", seconds=APT_SECONDS)
    assert machine.run("hello").stdout == "Hello, world!\n"


def test_a_droplet_installs_from_the_cpan_mirror_over_https(sandbox: Sandbox, machine: Machine) -> None:
    install = "cpanm --quiet --local-lib-contained /root/local --mirror-only --mirror"
    machine.run(f"{install} {sandbox.cpan_https_url} Sandbox::Menu", seconds=APT_SECONDS)
    show = "PERL5LIB=/root/local/lib/perl5 perl -MSandbox::Menu -e 'print Sandbox::Menu::menu()'"
    assert machine.run(show).stdout == "Hello from Sandbox::Greeting 0.02; 2 dishes"
    refused = machine.run(f"{install} {sandbox.private_cpan_url} Sandbox::Postgres", check=False)
    assert refused.returncode != 0
