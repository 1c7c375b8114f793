"""A server of one's own: one command installs Airflow, which deploys and comes back from a backup."""

from __future__ import annotations

import re
import time

import pytest

from demo.environment import DemoEnvironment
from sandbox.traffic_records import read, summarize
from tests.plain_host.host import CONFIG, PARTS, RUN_SECONDS, SOURCE, PlainHost
from tests.sandbox.stack import Judge
from tests.waiting import until

STORE = "/var/cache/bluegreen/artifacts/my_perl_app"

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]


def nobody_noticed(judge: Judge) -> None:
    """Demand that no request has failed so far."""
    traffic = summarize(read(judge.records))
    assert traffic.requests > 1000
    assert (traffic.failed, traffic.app_errors) == (0, 0), traffic.failures
    assert set(traffic.colors) == {"blue", "green"}


def test_the_services_run_as_a_plain_user_who_can_write_only_what_is_his(host: PlainHost) -> None:
    for part in PARTS:
        pid = host.show(part, "MainPID")
        assert host.run(f"ps -o user= -p {pid}").strip() == "airflow", part
        status = host.read(f"/proc/{pid}/status")
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M), part
        assert set(re.findall(r"^Cap(?:Eff|Prm|Bnd):\s+(\w+)$", status, re.M)) == {"0" * 16}, part
        # Root itself could not write there, as the service sees the file system.
        for directory in ("/opt/bluegreen/app", CONFIG, "/usr"):
            touch = ["nsenter", f"--target={pid}", "--mount", "--", "touch", f"{directory}/new"]
            assert "Read-only" in host.machine.run(touch, check=False).stderr, (part, directory)


def test_nothing_but_ssh_listens_for_others(host: PlainHost) -> None:
    listening = {line.split()[3] for line in host.run("ss -ltnH").splitlines()}
    assert {where.rpartition(":")[0] for where in listening if not where.endswith(":22")} == {"127.0.0.1"}


def test_secrets_are_files_for_airflow_only_and_nowhere_else(host: PlainHost) -> None:
    files = host.run(f"stat --format='%a %U:%G %n' {CONFIG}/airflow.env {CONFIG}/secrets/*").splitlines()
    assert {line.rpartition(" ")[0] for line in files} == {"640 root:airflow"}
    shown = host.run(
        "systemctl show 'bluegreen-airflow-*'; ps -eo args; cat /proc/[0-9]*/environ; journalctl"
    )
    for name in (
        "fernet_key",
        "jwt_secret",
        "api_secret_key",
        "postgres_password",
        "admin_password",
        "ci_password",
    ):
        assert host.read(f"{CONFIG}/secrets/{name}") not in shown, name


def test_airflow_s_role_in_postgresql_is_no_superuser(host: PlainHost) -> None:
    asked = "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = 'airflow'"
    assert host.run(f'runuser --user postgres -- psql -tAc "{asked}"').strip() == "f"


@pytest.mark.parametrize("part", PARTS)
def test_only_the_scheduler_whose_tasks_need_it_sees_the_ssh_key(host: PlainHost, part: str) -> None:
    pid = host.show(part, "MainPID")
    for name in ("ssh_key", "admin_password", "ci_password"):
        cat = ["nsenter", f"--target={pid}", "--mount", "--", "cat", f"{CONFIG}/secrets/{name}"]
        assert bool(host.machine.run(cat, check=False).stdout) is (part == "scheduler"), name
    # What each part of Airflow needs is still there.
    needed = ["nsenter", f"--target={pid}", "--mount", "--", "cat", f"{CONFIG}/secrets/jwt_secret"]
    assert host.machine.run(needed).stdout


def test_a_command_that_cannot_do_its_work_says_why_and_changes_nothing(host: PlainHost) -> None:
    pids = [host.show(part, "MainPID") for part in PARTS]
    host.write("/root/file", "no backup")
    for command, words in (
        ("PYTHON=python9 {}/install", "there is no python9; name a Python 3.11, 3.12 or 3.13"),
        ("setpriv --reuid=nobody --clear-groups {}/install", "root is needed"),
        ("{}/backup /root/file", "/root/file exists and stays as it is"),
        ("{}/restore /root/file", "/root/file cannot be unpacked; nothing was changed"),
    ):
        done = host.machine.run(command.format(f"{SOURCE}/hosting/systemd"), check=False)
        assert done.returncode == 1, command
        assert words in done.stderr.splitlines()[-1], command
    assert [host.show(part, "MainPID") for part in PARTS] == pids


def test_it_deploys_and_again_after_the_scheduler_s_death(
    host: PlainHost, environment: DemoEnvironment, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    shown = host.deploy("v2")
    seconds = time.monotonic() - began
    scripts = max(map(float, re.findall(r" deploy\[my-.* success +([\d.]+) s$", shown, re.M)))
    rest = seconds - scripts - environment.bake
    with capsys.disabled():
        print(f"\ndeploy: {seconds:.1f} s; scripts {scripts} s, bake {environment.bake} s, rest {rest:.1f} s")

    killed = host.show("scheduler", "MainPID")
    host.run(f"kill -9 {killed}")
    until(lambda: host.show("scheduler", "MainPID") not in ("0", killed), "systemd starts a scheduler")
    assert "live and confirmed" in host.deploy("v1")
    nobody_noticed(judge)


def test_an_upgrade_keeps_every_secret_and_setting_and_a_deploy_goes_on(
    host: PlainHost, environment: DemoEnvironment, judge: Judge
) -> None:
    sums = f"find {CONFIG} -type f -exec sha256sum {{}} + | sort"
    before, kept = host.run(sums), set(host.run(f"ls {STORE}").split())
    host.write(f"{SOURCE}/dags/of_the_new_version.py", "")
    with host.tunnel() as url:
        client = host.client(url)
        run = client.trigger(environment.dag_id("deploy"), {"ref": "v2"})
        next(task for task in client.follow(run) if (task.task_id, task.state) == ("deploy", "running"))
        host.install()
        assert client.wait(run, RUN_SECONDS) == "success", client.last_line(run)
    assert host.run(sums) == before
    assert kept <= set(host.run(f"ls {STORE}").split())
    assert host.run("ls /opt/bluegreen/app/dags/of_the_new_version.py")
    nobody_noticed(judge)


def test_a_backup_restores_an_empty_server(
    host: PlainHost, environment: DemoEnvironment, judge: Judge
) -> None:
    deploys = environment.dag_id("deploy")
    host.run(f"{SOURCE}/hosting/systemd/backup /root/backup.tar")
    assert host.run("stat --format=%a /root/backup.tar").strip() == "600"
    with host.tunnel() as url:
        before = {run["dag_run_id"] for run in host.client(url).items(f"dags/{deploys}/dagRuns", "dag_runs")}
    host.run(
        "systemctl stop 'bluegreen-airflow*' && runuser -u postgres -- dropdb airflow &&"
        f" rm -rf {CONFIG} /var/lib/bluegreen /var/log/bluegreen /var/cache/bluegreen /opt/bluegreen/app"
    )
    host.install()
    host.run(f"{SOURCE}/hosting/systemd/restore /root/backup.tar", 300)
    with host.tunnel() as url:
        client = host.client(url)
        assert {run["dag_run_id"] for run in client.items(f"dags/{deploys}/dagRuns", "dag_runs")} == before
    # Connections are decrypted, the key opens the droplets, and what no backup has is built again.
    assert "live and confirmed" in host.deploy("v1")
    nobody_noticed(judge)
