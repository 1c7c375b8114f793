"""A command of an app's own, on a real droplet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

DAG_ID = "bluegreen_deploy__my_perl_app"
COMMAND = 'echo "$BLUEGREEN_REF to $BLUEGREEN_TO as $(id -un) in $PWD"; exit 7'


@pytest.fixture
def failing_hook(stack: Stack) -> Iterator[None]:
    """An app with a command before the switch that says what it sees, and fails."""
    file = stack.environment.directory / "apps" / "my_perl_app.yaml"
    before = file.read_text()
    hooks = {"before_switch": [{"command": ["bash", "-c", COMMAND], "droplets": "one"}]}

    def set_to(text: str, there: bool) -> None:
        file.write_text(text)
        stack.client.read_again(DAG_ID)
        stack.wait_for(lambda: ("before_switch" in stack.client.task_ids(DAG_ID)) is there, "the DAG", 60)

    try:
        set_to(yaml.safe_dump({**yaml.safe_load(before), "hooks": hooks}), there=True)
        yield
    finally:
        set_to(before, there=False)


@pytest.mark.usefixtures("failing_hook")
def test_a_command_that_fails_before_the_switch_stops_the_deploy_and_knew_all_about_it(stack: Stack) -> None:
    live, ref = stack.live(), stack.other_ref()
    idle = "green" if live == "blue" else "blue"
    ended = stack.run("deploy", ref=ref)
    assert ended.report["outcome"] == "refused before the switch"
    release = f"/opt/my_perl_app/releases/{stack.revisions[ref]}"
    assert f"ended with 7: {ref} to {idle} as my_perl_app in {release};" in ended.report["message"]
    assert stack.live() == live
