"""What Prometheus and statsd_exporter make of the figures, by their own word."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bluegreen.checks.finding import warning
from bluegreen.operators.support.metrics import Watched, findings_of, locked, processes
from bluegreen.settings.app_file import load_app

METRICS = Path(__file__).resolve().parents[2] / "hosting" / "metrics"
MAPPING = METRICS / "statsd-mapping.yaml"
APP = "my_perl_app"
RECORD = {"requests": 1200, "failed": 2, "switch_ms": 41.5}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", METRICS / "alerts.yaml"),
        ("test", "rules", Path(__file__).with_name("alerts.test.yaml")),
    ],
)
def test_the_alarms_are_valid_and_fire_when_they_should(arguments: tuple[str | Path, ...]) -> None:
    said = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def exporter() -> Iterator[tuple[int, str]]:
    """A statsd_exporter: its UDP port, and the address of what it exports."""
    program = shutil.which("statsd_exporter")
    if program is None:
        pytest.skip("there is no statsd_exporter on PATH; Debian has none, see its releases on GitHub")
    udp, http = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    url = f"http://127.0.0.1:{http}/metrics"
    process = subprocess.Popen(
        [
            program,
            f"--statsd.mapping-config={MAPPING}",
            f"--statsd.listen-udp=127.0.0.1:{udp}",
            "--statsd.listen-tcp=",
            f"--web.listen-address=127.0.0.1:{http}",
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        scraped(url, "go_info")
        yield udp, url
    finally:
        process.terminate()
        process.wait(10)


def scraped(url: str, awaited: str) -> list[str]:
    """Return what is exported as soon as a name is there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            lines = requests.get(url, timeout=5).text.splitlines()
        except requests.ConnectionError:
            lines = []
        if any(line.startswith(awaited) for line in lines):
            return lines
        assert time.monotonic() < deadline, f"no {awaited} within 10 s"
        time.sleep(0.05)


def test_the_figures_become_what_the_alarms_ask_for(exporter: tuple[int, str]) -> None:
    udp, url = exporter
    run = Watched("dry_run", APP)
    figures = {
        **run.at_start(1_795_000_000, load_app(APP), {}),
        **Watched("deploy", APP).at_end(1_795_000_001, {"outcome": "live and confirmed", "record": RECORD}),
        **locked(APP, since=0),
        **findings_of(APP, [warning("blue-1", "is slow", "look")]),
        **processes(APP, well=False),
        f"bluegreen.certificate.ends.{APP}.www_com": 1_800_000_000,
        f"bluegreen.certificate.late.{APP}.www_com": 1_798_000_000,
    }
    sent = [f"airflow.{name}:{value}|g" for name, value in figures.items()]
    sent += [f"airflow.dagrun.duration.failed.bluegreen_deploy__{APP}:1500.5|ms"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
        for message in [*sent, "airflow.scheduler_heartbeat:1|c"]:
            speaker.sendto(message.encode(), ("127.0.0.1", udp))
    ours = ("bluegreen_", "airflow_scheduler_heartbeat", "airflow_dagrun_duration_seconds_sum")
    lines = [line for line in scraped(url, "airflow_scheduler_heartbeat") if line.startswith(ours)]
    app = f'{{app="{APP}"}}'
    assert sorted(lines) == [
        f'airflow_dagrun_duration_seconds_sum{{dag_id="bluegreen_deploy__{APP}",state="failed"}} 1.5005',
        "airflow_scheduler_heartbeat 1",
        f'bluegreen_certificate_ends_timestamp_seconds{{app="{APP}",certificate="www_com"}} 1.8e+09',
        f'bluegreen_certificate_late_timestamp_seconds{{app="{APP}",certificate="www_com"}} 1.798e+09',
        f"bluegreen_dry_run_errors{app} 0",
        f"bluegreen_dry_run_warnings{app} 1",
        f"bluegreen_lock_since_timestamp_seconds{app} 0",
        f"bluegreen_processes_unsettled{app} 1",
        f'bluegreen_run_due_timestamp_seconds{{app="{APP}",kind="deploy"}} 0',
        f'bluegreen_run_due_timestamp_seconds{{app="{APP}",kind="dry_run"}} 1.7950009e+09',
        f'bluegreen_run_ended_timestamp_seconds{{app="{APP}",kind="deploy",outcome="live_and_confirmed"}} '
        "1.795000001e+09",
        f"bluegreen_switch_failed_requests{app} 2",
        f"bluegreen_switch_milliseconds{app} 41.5",
        f"bluegreen_switch_requests{app} 1200",
    ]
