"""The CI client as a process on a CI machine: signals, proxies, certificates, terminals, old Pythons."""

from __future__ import annotations

import ast
import signal
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.unit.ci_client import (
    CLIENT,
    DAG,
    REPORT,
    RUN,
    airflow_with_a_run,
    airflow_with_an_ended_run,
    arguments,
    report,
    start,
    task,
    tasks,
)
from tests.unit.fake_airflow import FakeApi, serving

SECONDS = 20


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    printed, _ = process.communicate(timeout=SECONDS)
    assert "Traceback" not in printed
    return process.returncode, printed.splitlines()


def run(*argv: str, **environment: str) -> tuple[int, list[str]]:
    return ended(start(*argv, **environment))


@contextmanager
def following(api: FakeApi, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A client that follows a run which does not end by itself."""
    api.answers[f"GET {RUN}"] = {"state": "running"}
    api.answers[f"GET {RUN}/taskInstances"] = tasks(task("lock", "running"))
    with serving(api) as address, start(*arguments(f"http://{address}", *more)) as process:
        assert process.stdout
        while "lock" not in (line := process.stdout.readline()):
            assert line
        yield process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_detaches_and_says_how_to_follow_again(number: signal.Signals) -> None:
    api = airflow_with_a_run()
    with following(api) as process:
        process.send_signal(number)
        code, lines = ended(process)
    assert code == 128 + number
    assert lines == [
        "detached; if the run has begun, it goes on; to follow it: the same call with --run-id=ci-1"
    ]
    assert api.asked("PATCH") == []


@pytest.mark.parametrize("more", [[], ["--cancel-on-interrupt"]])
def test_a_signal_before_the_trigger_says_that_nothing_was_begun(more: list[str]) -> None:
    api = airflow_with_a_run()
    api.answers[f"GET {DAG}/details"] = (503, "")
    with serving(api) as address, start(*arguments(f"http://{address}", *more)) as process:
        assert process.stdout
        assert "trying again" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (143, ["detached; nothing was begun"])
    assert api.asked("POST") == []


def test_a_signal_cancels_if_asked_to_and_the_run_is_followed_to_its_end() -> None:
    api = airflow_with_a_run("rolled back", "failed")
    api.answers[f"PATCH {RUN}"] = {"state": "failed"}
    with following(api, "--cancel-on-interrupt") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline().startswith("cancelled: ")
        api.answers[f"GET {RUN}"] = {"state": "failed"}
        code, lines = ended(process)
    assert (code, lines[-1]) == (4, "the last line")
    assert api.asked("PATCH") == [(RUN, {"state": "failed"})]


def test_a_second_signal_detaches_from_the_run_that_is_being_cancelled() -> None:
    api = airflow_with_a_run("rolled back", "failed")
    api.answers[f"PATCH {RUN}"] = {"state": "failed"}
    with following(api, "--cancel-on-interrupt") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline().startswith("cancelled: ")
        process.send_signal(signal.SIGTERM)
        assert ended(process)[0] == 143


def test_a_reader_that_leaves_does_not_change_the_exit_status() -> None:
    api = airflow_with_a_run("rolled back", "failed")
    with following(api) as process:
        assert process.stdout
        process.stdout.close()
        api.answers[f"GET {RUN}"] = {"state": "failed"}
        assert process.wait(SECONDS) == 4


def test_a_log_of_few_letters_gets_question_marks() -> None:
    api = airflow_with_an_ended_run()
    api.answers[REPORT] = report("live and confirmed", "v2 … ✓")
    with serving(api) as address:
        code, lines = run(*arguments(f"http://{address}"), PYTHONIOENCODING="ascii")
    assert (code, lines[-1]) == (0, "v2 ? ?")


def test_a_redirect_is_named_and_not_followed() -> None:
    elsewhere = airflow_with_an_ended_run()
    with serving(elsewhere) as address:
        api = FakeApi()
        api.answers["POST /auth/token"] = (302, f"http://{address}/login")
        with serving(api) as first:
            code, lines = run(*arguments(f"http://{first}"))
    assert code == 2
    assert f"use http://{address}/login as --url" in lines[-1]
    assert elsewhere.seen == []


def test_the_environment_s_proxy_is_used_for_what_is_encrypted_only() -> None:
    proxy = FakeApi()
    with serving(proxy) as address, serving(airflow_with_an_ended_run()) as direct:
        proxies = {"http_proxy": f"http://{address}", "https_proxy": f"http://{address}"}
        assert run(*arguments(f"http://{direct}"), **proxies)[0] == 0
        assert proxy.seen == []
        assert run(*arguments("https://airflow.invalid", seconds=1), **proxies)[0] == 7
    assert {request for request, _, _ in proxy.seen} == {"CONNECT airflow.invalid:443"}


def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    api = airflow_with_an_ended_run()
    with serving(api, context) as address:
        code, lines = run(*arguments(f"https://{address}"))
        assert code == 7
        assert "is not trusted, see --ca-file: unable to get local issuer certificate" in lines[-1]
        assert api.seen == []
        assert run(*arguments(f"https://{address}"), AIRFLOW_CA_FILE=str(tmp_path / "ca.pem"))[0] == 0


def test_the_client_is_one_short_file_for_python_3_9_and_its_standard_library() -> None:
    source = CLIENT.read_text()
    ast.parse(source, feature_version=(3, 9))
    assert len(source.splitlines()) < 400
    # Without site-packages.
    code, lines = run("--help")
    assert code == 0
    assert any(line.startswith("exit status:") for line in lines)
