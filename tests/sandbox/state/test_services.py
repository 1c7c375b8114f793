"""Backing services on machines: a color that cannot reach them gets no traffic, and nothing leaks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.app_file import settings
from tests.sandbox.stack import Stack, fingerprint
from tests.sandbox.state.services import PORT, Services

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(300)]

METADATA = "http://169.254.169.254/metadata/v1/user-data"
# Goes away from its terminal, prints a secret, and hangs.
HANGING = 'setsid sleep 6543 & echo "as $PGPASSWORD"; sleep 6543'
# Asks by itself what the agent's program refuses to ask.
ASKING = "exec 3<>/dev/tcp/169.254.169.254/80 && echo reached the metadata service"


def checks(services: Services) -> dict[str, Any]:
    """Return services of every kind: the database is there, the cache may be."""
    return {
        "database": {"address_from": "DATABASE_URL"},
        "query": {"command": ["psql", "-Atc", "SELECT 1"]},
        "cache": {"address": f"{services.machine.private_address}:{PORT}"},
    }


def test_a_color_that_cannot_reach_a_service_is_refused_and_each_is_named(
    stack: Stack, services: Services
) -> None:
    live, ref = stack.live(), stack.other_ref()
    hostile = {
        "metadata": {"url_from": "METADATA_URL"},
        "asking": {"command": ["bash", "-c", ASKING]},
        "hanging": {"command": ["bash", "-c", HANGING], "timeout": 2},
    }
    changes = {"services": {**checks(services), **hostile}, "environment": {"METADATA_URL": METADATA}}
    services.machine.run(["systemctl", "stop", "redis-server"])
    try:
        before = fingerprint(stack, live)
        with settings(stack, changes):
            ended = stack.run("deploy", ref=ref).expect("refused before the switch")
        assert fingerprint(stack, live) == before
    finally:
        services.machine.run(["systemctl", "start", "redis-server"])
    message = ended.report["message"]
    assert "cannot reach the services asking (bash -c" in message
    # The address is a value of the environment, too, and hidden.
    assert f":{PORT}): connection refused; " in message
    assert "metadata (METADATA_URL): it is a link-local address" in message
    assert "reached the metadata service" not in message
    assert "took longer than 2 s (setting services.hanging.timeout): as [" in message
    assert "database" not in message
    assert services.database.password not in message
    for machine in stack.idle_machines():
        assert machine.run("pgrep --full '[s]leep 6543'", check=False).stdout == ""


def test_a_dry_run_finds_what_a_deploy_would_refuse_and_what_live_cannot_reach(
    stack: Stack, services: Services
) -> None:
    with settings(stack, {"services": checks(services)}):
        services.machine.run(["systemctl", "stop", "redis-server"])
        try:
            ended = stack.run("dry_run", ref=stack.other_ref())
        finally:
            services.machine.run(["systemctl", "start", "redis-server"])
        found = stack.client.xcom(ended.run, "check", "findings")
        named = {
            (one["severity"], one["subject"]) for one in found if "cannot reach the service" in one["what"]
        }
        color = {machine.name: color for color in ("blue", "green") for machine in stack.machines(color)}
        live = stack.live()
        assert named == {
            ("warning" if one == live else "error", machine) for machine, one in color.items()
        }, [one["what"] for one in found]
        assert ended.state == "failed"
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        assert stack.live() != live
