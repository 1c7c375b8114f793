"""A job is followed to its end over one connection, and everything that it wrote is heard once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import following, jobs
from agent.droplet.following import follow_job
from agent.protocol import AgentError, Verb
from tests.unit.agent.droplet.local_droplet import configuration

APP = "app-shop"
UNIT = f"bluegreen-{APP}-0123"
RUNNING = "LoadState=loaded\nActiveState=active\nSubState=running\nDescription=run-1\n"
FAILED = (
    "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=7\n"
    "ExecMainStartTimestampMonotonic=1000000\nExecMainExitTimestampMonotonic=2500000\nDescription=run-1\n"
)


class Job:
    """A job whose unit and log are files of the test's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.unit = path / "unit"
        self.log = path / "run/bluegreen" / UNIT / "log"
        self.log.parent.mkdir(parents=True)
        self.environment = path / "etc/default" / APP
        self.environment.parent.mkdir(parents=True)

    def follow(self, cursor: int = 0, seconds: float = 30) -> dict[str, Any]:
        request = {"app": APP, "unit": UNIT, "cursor": cursor, "seconds": seconds}
        return follow_job(Call.of(Verb.FOLLOW_JOB), request)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    (tmp_path / "bin").mkdir()
    systemctl = tmp_path / "bin" / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncat {tmp_path}/unit 2>/dev/null || echo LoadState=not-found\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("BLUEGREEN_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(following, "PAUSE", 0.01)
    return Job(tmp_path)


@pytest.fixture
def heard(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Return the lines of progress since it was called last."""

    def lines() -> list[str]:
        progress = [json.loads(line)["progress"] for line in capsys.readouterr().out.splitlines()]
        return [line for one in progress for line in one["lines"]]

    return lines


def test_what_a_job_wrote_is_heard_to_the_last_half_line(job: Job, heard: Callable[[], list[str]]) -> None:
    job.unit.write_text(FAILED)
    job.log.write_text("one\ntwo\nthree")
    end = job.follow()
    assert heard() == ["one", "two", "three"]
    assert end == {
        "state": "failed",
        "result": "exit-code",
        "exit_status": 7,
        "run_id": "run-1",
        "seconds": 1.5,
        "cursor": 13,
        "answers": {},
    }
    assert job.follow(cursor=8)["cursor"] == 13
    assert heard() == ["three"]


SUCCEEDED = "LoadState=loaded\nActiveState=active\nSubState=exited\nResult=success\nDescription=run-1\n"


@pytest.mark.parametrize(
    ("unit", "written", "found"),
    [
        (SUCCEEDED, '{"build": {"release": "r"}}', {"build": {"release": "r"}}),
        (FAILED, '{"migrate": {"ran": []}}', {"migrate": {"ran": []}}),
        (RUNNING, '{"migrate": {"ran": []}}', {}),
        (SUCCEEDED, "{", {}),
        (SUCCEEDED, "[]", {}),
        (SUCCEEDED, None, {}),
        (SUCCEEDED, '{"build": "' + "x" * 70_000 + '"}', {}),
    ],
    ids=["success", "failed", "at work", "broken", "no object", "none", "too long"],
)
def test_a_job_that_has_ended_has_the_answers_of_its_steps(
    job: Job, unit: str, written: str | None, found: dict[str, Any]
) -> None:
    job.unit.write_text(unit)
    if written is not None:
        (job.log.parent / "answers.json").write_text(written)
    seconds = 0 if unit == RUNNING else 60
    assert job.follow(seconds=seconds)["answers"] == found


def test_lines_are_heard_while_the_job_is_at_work(job: Job, heard: Callable[[], list[str]]) -> None:
    job.unit.write_text(RUNNING)
    job.log.write_text("one\ntwo hal")

    def go_on() -> None:
        job.log.write_text("one\ntwo halves\n")
        job.unit.write_text(FAILED)

    timer = threading.Timer(0.2, go_on)
    timer.start()
    assert job.follow()["state"] == "failed"
    assert heard() == ["one", "two halves"]


def test_a_job_that_goes_on_longer_than_its_connection_is_still_running(
    job: Job, heard: Callable[[], list[str]]
) -> None:
    job.unit.write_text(RUNNING)
    job.log.write_text("one\ntwo hal")
    end = job.follow(seconds=0)
    assert (end["state"], end["exit_status"], end["cursor"]) == ("running", None, 4)
    assert heard() == ["one"]


def test_a_job_that_writes_nothing_is_reported_to_be_alive(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, "HEARTBEAT", 0.05)
    job.unit.write_text(RUNNING)
    job.follow(seconds=0.3)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(said) > 1
    assert all(one == {"progress": {"lines": [], "cursor": 0}} for one in said)


def test_a_job_that_is_gone_is_missing(job: Job) -> None:
    job.log.write_text("old\n")
    end = job.follow()
    assert (end["state"], end["run_id"], end["seconds"]) == ("missing", "", 0.0)


def test_nothing_of_the_app_s_environment_is_heard(job: Job, heard: Callable[[], list[str]]) -> None:
    job.environment.write_text("DB_PASSWORD=hunter22\n")
    job.unit.write_text(FAILED)
    job.log.write_text("login failed: hunter22\n")
    job.follow()
    assert heard() == ["login failed: [DB_PASSWORD]"]


def test_a_value_that_comes_into_the_environment_while_the_job_is_at_work_is_hidden(
    job: Job, heard: Callable[[], list[str]]
) -> None:
    job.environment.write_text("DB_PASSWORD=hunter22\n")
    job.unit.write_text(RUNNING)
    job.log.write_text("")

    def go_on() -> None:
        job.environment.write_text("DB_PASSWORD=hunter33\n")
        job.log.write_text("login failed: hunter33\n")
        job.unit.write_text(FAILED)

    threading.Timer(0.2, go_on).start()
    job.follow()
    assert heard() == ["login failed: [DB_PASSWORD]"]


def test_values_of_every_configuration_on_the_droplet_and_of_the_job_s_own_are_hidden(
    job: Job, heard: Callable[[], list[str]]
) -> None:
    configuration = job.path / "var/lib/bluegreen" / APP / "configurations" / ("c" * 64)
    configuration.mkdir(parents=True)
    (configuration / "environment").write_text('DB_PASSWORD="hunter22"\n')
    delivered = {"configuration": {"variables": {"API_KEY": "hunter33"}}}
    program = {"steps": [{"verb": "install", "request": delivered}, {"verb": "load", "request": {}}]}
    (job.log.parent / "program.json").write_text(json.dumps(program))
    job.unit.write_text(FAILED)
    job.log.write_text("login failed: hunter22, hunter33\n")
    job.follow()
    assert heard() == ["login failed: [DB_PASSWORD], [API_KEY]"]


DELIVERED = b"db:\n  adapter: postgresql\n  password: hunter44\nkey: |\n  MIIEvQIBADANBgkqhkiG9w0BAQ\n"


@pytest.mark.parametrize("is_there", [True, False])
def test_what_looks_like_a_secret_in_a_delivered_file_is_hidden(
    job: Job, heard: Callable[[], list[str]], is_there: bool
) -> None:
    wanted = configuration(files={"etc/db.yaml": (DELIVERED, 0o640)})
    if is_there:
        file = (
            job.path / "var/lib/bluegreen" / APP / "configurations" / wanted["digest"] / "files/etc/db.yaml"
        )
        file.parent.mkdir(parents=True)
        file.write_bytes(DELIVERED)
    else:
        program = {"steps": [{"verb": "install", "request": {"configuration": wanted}}]}
        (job.log.parent / "program.json").write_text(json.dumps(program))
    job.unit.write_text(FAILED)
    job.log.write_text("no postgresql for hunter44\nbad key MIIEvQIBADANBgkqhkiG9w0BAQ\n")
    job.follow()
    assert heard() == ["no postgresql for [db.yaml]", "bad key [db.yaml]"]


def test_a_systemd_that_says_nothing_for_a_moment_is_no_sign_that_the_job_is_gone(job: Job) -> None:
    (job.path / "bin/systemctl").write_text(
        f"#!/bin/sh\ncat {job.path}/unit || {{ echo 'Failed to connect to bus' >&2; exit 1; }}\n"
    )
    threading.Timer(0.2, lambda: job.unit.write_text(FAILED)).start()
    assert job.follow()["state"] == "failed"


def test_a_systemd_that_says_nothing_is_shown(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "SYSTEMD_WAIT", 0.1)
    (job.path / "bin/systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus'; exit 1\n")
    with pytest.raises(AgentError, match=r"systemd does not say where .* stands: Failed to connect to bus"):
        job.follow()
