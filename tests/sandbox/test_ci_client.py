"""The CI client against a real Airflow, from the trigger to the exit status."""

from __future__ import annotations

import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from demo.environment import APP
from tests.sandbox.stack import Stack
from tests.unit.ci_client import curl_commands, run_commands, start
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]

SECONDS = 180
Client = subprocess.Popen[str]


def environment(stack: Stack) -> dict[str, str]:
    """What the client and the commands of docs/ci.md are given about Airflow."""
    airflow = stack.airflow
    return {
        "AIRFLOW_URL": airflow.url,
        "AIRFLOW_USERNAME": airflow.user,
        "AIRFLOW_PASSWORD": airflow.password,
    }


@pytest.fixture
def client(stack: Stack) -> Callable[..., Client]:
    """Start the client for a ref, with the password in its environment."""

    def call(ref: str, *more: str) -> Client:
        options = [f"--app={APP}", f"--ref={ref}", f"--timeout={SECONDS}", *more]
        return start(*options, **environment(stack))

    return call


def read_until(client: Client, words: str) -> str:
    """Read lines up to the one with these words; return it."""
    assert client.stdout
    lines = []
    while line := client.stdout.readline():
        if words in line:
            return line
        lines.append(line)
    pytest.fail(f"no {words!r} in {lines}")


def ended(client: Client) -> tuple[int, list[str]]:
    """Wait for the end; return the exit status and the lines that have not been read."""
    printed, _ = client.communicate(timeout=SECONDS + 30)
    return client.returncode, printed.splitlines()


def test_a_deploy_is_seen_through_though_client_and_api_server_go_away(
    stack: Stack, client: Callable[..., Client]
) -> None:
    ref, job = stack.other_ref(), f"--run-id=ci-{uuid.uuid4()}"
    first = client(ref, job)
    read_until(first, "triggered ci-")
    first.send_signal(signal.SIGINT)
    assert ended(first)[0] == 130

    second = client(ref, job)
    read_until(second, f"{job[9:]} exists, following it: ")
    read_until(second, "deploy[my-perl-app-")
    stack.airflow.api_server.kill()
    read_until(second, "Airflow does not answer, trying again: ")
    stack.airflow.api_server.start()
    read_until(second, "Airflow answers again")
    code, lines = ended(second)
    assert code == 0, lines
    assert f"deploy of {ref} (" in lines[-1]
    assert "live and confirmed" in lines[-1]
    assert stack.live_ref() == ref
    stack.airflow.wait_healthy()


def test_a_deploy_that_is_cancelled_after_the_switch_gives_the_traffic_back(
    stack: Stack, client: Callable[..., Client]
) -> None:
    old = stack.live()
    process = client(stack.other_ref(), "--cancel-on-interrupt", "--param=bake=10")
    until(lambda: stack.live() != old, "the switch", 120)
    process.send_signal(signal.SIGTERM)
    code, lines = ended(process)
    assert code == 4, lines
    assert any("cancelled: " in line for line in lines)
    assert "rolled back" in lines[-1]
    assert stack.live() == old


def test_a_ref_that_nobody_has_pushed_fails_before_the_switch_and_curl_sees_the_same(
    stack: Stack, client: Callable[..., Client], tmp_path: Path
) -> None:
    run_id = f"ci-{uuid.uuid4()}"
    code, lines = ended(client("no-such-branch", f"--run-id={run_id}"))
    assert code == 3
    assert "there is no branch or tag 'no-such-branch'" in lines[-1]

    curl = run_commands(curl_commands(run_id), tmp_path, seconds=SECONDS, **environment(stack))
    assert curl.returncode == 1
    assert "Unique constraint violation" in curl.stdout
    assert '"outcome":"refused before the switch"' in curl.stderr
    assert (tmp_path / "header").stat().st_mode & 0o077 == 0


def test_curl_alone_deploys(stack: Stack, tmp_path: Path) -> None:
    ref = stack.other_ref()
    commands = curl_commands(f"ci-{uuid.uuid4()}", ref)
    curl = run_commands(commands, tmp_path, seconds=SECONDS, **environment(stack))
    assert curl.returncode == 0, curl.stdout + curl.stderr
    assert '"outcome":"live and confirmed"' in curl.stderr
    assert stack.live_ref() == ref


def test_a_malformed_ref_is_refused(client: Callable[..., Client]) -> None:
    code, [line] = ended(client("v2; reboot"))
    assert code == 2
    assert "400 Invalid input for param ref: 'v2; reboot'" in line
