"""Droplets that lack a release get it from the artifact store, by a rollback or by provisioning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluegreen.traffic.agent_answers import ProxyStatus
from sandbox import Machine
from tests.sandbox.chaos.leftovers import status_of
from tests.sandbox.judged import judged
from tests.sandbox.stack import SYSTEM_NAME, Stack
from tests.sandbox.state.state_fleet import PATHS, Releases
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


def running_on(machine: Machine) -> tuple[str, str]:
    """Return the directory of the release that a droplet runs, and the digest of its manifest there."""
    directory = machine.run(["readlink", "-f", f"/opt/{SYSTEM_NAME}/current"]).stdout.strip()
    manifest = machine.run(["sha256sum", f"{directory}/.bluegreen/manifest"]).stdout.split()
    assert machine.run(["systemctl", "is-active", SYSTEM_NAME], check=False).stdout.strip() == "active"
    return directory, manifest[0]


@contextmanager
def no_request_fails(stack: Stack, directory: Path) -> Iterator[None]:
    """Clients that read and write all the time."""
    with judged(stack.environment.proxy_url(), directory, PATHS) as found:
        yield
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples


def test_a_rollback_by_name_to_a_release_that_no_idle_droplet_has_takes_it_from_the_store(
    stack: Stack, releases: Releases, tmp_path: Path
) -> None:
    was_live = stack.other_ref()
    stack.run("deploy", ref=was_live).expect("live and confirmed")
    releases.add("between", {"NOTES": "one release more\n"}, on="v1")
    with no_request_fails(stack, tmp_path):
        [bytes_of_it] = {running_on(machine) for machine in stack.machines(stack.live())}
        stack.run("deploy", ref="between").expect("live and confirmed")
        stack.run("deploy", ref="v1" if was_live == "v2" else "v2").expect("live and confirmed")
        # As droplets that were replaced, or have run many releases since.
        for machine in stack.idle_machines():
            machine.run(["rm", "-rf", bytes_of_it[0]])
        ended = stack.run("rollback", revision=stack.revisions[was_live][:9]).expect("live and confirmed")
        assert stack.live_ref() == was_live, ended.report["message"]
        assert {running_on(machine) for machine in stack.machines(stack.live())} == {bytes_of_it}


def test_a_live_droplet_that_was_replaced_gets_the_live_release_and_its_share_of_the_traffic(
    stack: Stack, tmp_path: Path
) -> None:
    live = stack.live()
    machine, *others = stack.machines(live)
    [bytes_of_it] = {running_on(one) for one in (machine, *others)}

    def all_up() -> bool:
        status = ProxyStatus.parse(status_of(stack.proxy()))
        servers = {str(color): known for color, known in status.servers.items()}[live]
        return {one.name for one in servers if one.up} == {one.name for one in stack.machines(live)}

    stack.destroy(machine)
    with no_request_fails(stack, tmp_path):
        stack.run("provision").expect("done")
        assert {running_on(one) for one in stack.machines(live)} == {bytes_of_it}
        assert len(stack.machines(live)) == 1 + len(others)
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        stack.run("rollback").expect("live and confirmed")
        assert stack.live() == live
        until(all_up, f"all droplets of {live} take traffic")
