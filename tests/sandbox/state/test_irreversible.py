"""A release that declares itself irreversible: traffic stays on it though it is bad, until somebody knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bluegreen.traffic.agent_answers import ProxyStatus
from demo.app_settings import PREVIEW_HOST
from sandbox import Machine
from tests.sandbox.app_file import DEPLOY, chat, settings, told
from tests.sandbox.chaos.leftovers import status_of
from tests.sandbox.judged import judged
from tests.sandbox.stack import Stack
from tests.sandbox.state.state_fleet import PATHS, SOURCE, Releases
from tests.sandbox.way_back import make_sure_of_a_way_back

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(400)]

WHY = "visits are counted in another form"
GOOD = "    return $answer if $answer;\n"
# Good enough for the preview, and for HAProxy; clients get errors.
BAD = f"""\
    my $is_client = $env->{{HTTP_HOST}} ne '{PREVIEW_HOST}' && $env->{{PATH_INFO}} ne '/health';
    return $answer if $answer && !$is_client;
"""


@pytest.fixture(scope="module")
def fleet(stack: Stack, releases: Releases) -> Stack:
    """The fleet with a release on both colors, and two releases that are irreversible; one of them is bad."""
    make_sure_of_a_way_back(stack)
    app = (SOURCE / "app.psgi").read_text()
    assert app.count(GOOD) == 1
    releases.add("no_way_back", {"app.psgi": app.replace(GOOD, BAD)}, on="v1", irreversible=WHY)
    releases.add("mended", {"app.psgi": app}, on="no_way_back")
    return stack


@contextmanager
def allowed(stack: Stack, changes: dict[str, Any]) -> Iterator[None]:
    """Let the app's file allow irreversible releases for a while."""
    changes = {**changes, "migrations": {"irreversible": "allow"}}
    with settings(stack, changes, shown=lambda: stack.client.task_ids(DEPLOY)):
        yield


def timers(proxy: Machine) -> str:
    """The timers and services that would take a switch back."""
    return proxy.run("systemctl list-units --all --no-legend 'bluegreen-revert*'").stdout.strip()


def test_a_bad_irreversible_release_keeps_the_traffic_until_somebody_knows(
    fleet: Stack, tmp_path: Path
) -> None:
    before, idle, live_before = fleet.live(), fleet.idle(), fleet.live_ref()
    refused = fleet.run("deploy", ref="no_way_back").expect("refused by policy")
    print(refused.report["message"])
    assert f"it is irreversible: {fleet.revisions['no_way_back'][:7]}" in refused.report["message"]
    assert (fleet.live(), fleet.live_ref()) == (before, live_before)

    with (
        judged(fleet.environment.proxy_url(), tmp_path, PATHS) as found,
        chat(fleet, "failure", "rollback") as (heard, changes),
        allowed(fleet, changes),
    ):
        ended = fleet.run("deploy", ref="no_way_back").expect("frozen")
        line = ended.report["message"]
        print(line)
        assert (ended.state, fleet.live(), fleet.live_ref()) == ("failed", idle, "no_way_back")
        assert "the new release is bad" in line
        assert f"live is {idle}; traffic stays there" in line
        assert line.endswith(WHY)
        assert told(heard) == [line]
        states = {one.task_id: one.state for one in fleet.client.tasks(ended.run)}
        assert (states["freeze"], states["rollback"], states["confirm"]) == ("success", "skipped", "skipped")
        status = ProxyStatus.parse(status_of(fleet.proxy()))
        assert (status.pending, timers(fleet.proxy())) == (None, "")
        assert status.confirmed
        assert (status.confirmed.color, status.confirmed.judged) == (idle, False)

    back = fleet.run("rollback").expect("refused before the switch")
    print(back.report["message"])
    assert f"the live release is irreversible: {fleet.revisions['no_way_back'][:7]}" in back.report["message"]
    assert fleet.live() == idle
    back = fleet.run("rollback", i_know=True).expect("live and confirmed")
    assert (fleet.live(), fleet.live_ref()) == (before, live_before)
    [seen] = found
    # The bad release's own errors are what its clients got; no request was lost.
    assert (seen.failed, seen.app_errors > 0) == (0, True), seen.examples


def test_a_good_irreversible_release_goes_live_and_ends_the_way_back(fleet: Stack, tmp_path: Path) -> None:
    before, idle = fleet.live(), fleet.idle()
    with judged(fleet.environment.proxy_url(), tmp_path, PATHS) as found, allowed(fleet, {}):
        line = fleet.run("deploy", ref="mended").expect("live and confirmed").report["message"]
        print(line)
        assert "there is no way back from it: " in line
        assert (fleet.live(), fleet.live_ref()) == (idle, "mended")
        status = ProxyStatus.parse(status_of(fleet.proxy()))
        assert status.confirmed
        assert (status.confirmed.judged, timers(fleet.proxy())) == (True, "")
        back = fleet.run("rollback").expect("refused before the switch")
        assert "`i_know`" in back.report["message"]
        fleet.run("rollback", i_know=True).expect("live and confirmed")
        assert fleet.live() == before
    [seen] = found
    assert (seen.failed, seen.app_errors) == (0, 0), seen.examples
