"""Two proxies of which one follows an irreversible switch, and the other one does not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bluegreen.traffic.agent_answers import ProxyStatus
from demo.environment import APP
from sandbox import Machine
from sandbox.example_repository import run_git
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.chaos.conftest import WHOLE
from tests.sandbox.chaos.judges import Judges
from tests.sandbox.chaos.leftovers import leftovers, status_of
from tests.sandbox.stack import Stack, live_on

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not WHOLE, reason="it needs two proxies, so it is part of make chaos"),
]

TAG, WHY = "v2-irreversible", "visits are counted in another form"
MAP = "/etc/haproxy/traffic.map"


@pytest.fixture
def pair(fleet: Callable[..., Stack]) -> Stack:
    """Two proxies with v2 live, and a release on top of it that is irreversible."""
    stack = fleet(2)
    stack.end_runs()
    if stack.live_ref() != "v2":
        stack.run("deploy", ref="v2").expect("live and confirmed")
    bare = stack.sandbox.repositories / f"{APP}.git"
    with tempfile.TemporaryDirectory(dir=bare.parent) as made:
        run_git(Path(made), "clone", "--quiet", str(bare), "tree")
        tree = Path(made) / "tree"
        run_git(tree, "checkout", "--quiet", "--detach", "v2")
        message = f"Release {TAG}\n\nIrreversible: {WHY}"
        run_git(tree, "commit", "--quiet", "--allow-empty", "--message", message)
        run_git(tree, "tag", "--force", TAG)
        run_git(tree, "push", "--quiet", "--force", "origin", f"refs/tags/{TAG}")
        stack.revisions[TAG] = run_git(tree, "rev-parse", "HEAD")
    return stack


@contextmanager
def map_that_cannot_be_replaced(proxy: Machine) -> Iterator[None]:
    """Let every switch fail on a proxy that has agreed to it: nothing can be renamed onto a mount."""
    proxy.run(f"mount --bind {MAP} {MAP}")
    try:
        yield
    finally:
        proxy.run(f"umount {MAP}")


def move_by_hand(proxy: Machine, live: str, idle: str) -> None:
    """Move the traffic of one proxy as somebody would who does not know better."""
    for key, color in (("live", live), ("idle", idle)):
        proxy.run(f"sed -i 's/^{key} .*/{key} {color}/' {MAP}")
        proxy.run(f"echo 'set map {MAP} {key} {color}' | socat - /run/haproxy/admin.sock")


def test_no_rollback_goes_back_over_an_irreversible_release_that_one_proxy_has_kept(
    pair: Stack, tmp_path: Path
) -> None:
    stack = pair
    old, new = stack.live(), stack.idle()
    kept, behind = stack.proxies()
    where = f"({kept.name}: {new}, {behind.name}: {old})"

    def refused(kind: str, **conf: str) -> None:
        line = str(stack.run(kind, **conf).expect("refused before the switch").report["message"])
        print(line)
        assert where in line
        assert f"no way back from the release on {new} ({stack.revisions[TAG][:7]}" in line
        assert line.count("run the app's rollback with `i_know`") == 1
        assert [live_on(kept), live_on(behind)] == [new, old]

    with (
        Judges(stack, tmp_path) as judges,
        settings(
            stack,
            {"migrations": {"irreversible": "allow"}},
            shown=lambda: stack.client.task_ids(DEPLOY),
        ),
    ):
        with map_that_cannot_be_replaced(behind):
            line = stack.run("deploy", ref=TAG).expect("unclear").report["message"]
        print(line)
        assert f"goes to {new} on {kept.name} and stays there" in line
        assert f"{behind.name} did not follow" in line
        assert where in line
        assert line.count("run the app's rollback with `i_know`") == 1
        assert [live_on(kept), live_on(behind)] == [new, old]

        refused("rollback")
        refused("rollback", live=old)
        refused("deploy", ref="v1")
        refused("deploy", ref="v1", live=old)

        # Forward, as the line has advised; the release that nobody has judged stays irreversible.
        line = stack.run("rollback", live=new).expect("aligned").report["message"]
        print(line)
        assert f"all send traffic to {new} now (moved: {behind.name}); its release was not found good" in line
        assert (stack.live(), stack.live_ref()) == (new, TAG)
        line = stack.run("rollback").expect("refused before the switch").report["message"]
        print(line)
        assert "the live release is irreversible" in line

        # The same two proxies, one of which somebody has moved by hand: back, because somebody knows.
        move_by_hand(behind, live=old, idle=new)
        refused("rollback")
        line = stack.run("rollback", i_know=True).expect("aligned").report["message"]
        print(line)
        assert f"all send traffic to {old} now (moved: {kept.name})" in line
        assert (stack.live(), stack.live_ref()) == (old, "v2")
        # A second one does not send all traffic to what nobody has judged.
        line = stack.run("rollback").expect("already live").report["message"]
        print(line)
        assert (stack.live(), stack.live_ref()) == (old, "v2")
        stack.run("deploy", ref="v1").expect("live and confirmed")
        assert stack.live() == new
    assert [ProxyStatus.parse(status_of(one)).pending for one in stack.proxies()] == [None, None]
    assert leftovers(stack) == []
    assert [seen.summary.failed for seen in judges.seen()] == [0, 0]
