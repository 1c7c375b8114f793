"""What the files of the stack in containers say, as far as no engine is needed to see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yaml"


def strings(value: Any) -> Iterator[str]:
    """Every string in what YAML is read as."""
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def test_what_is_demanded_is_demanded_by_every_compose() -> None:
    # Newer ones leave out what is nested in a condition that is not met.
    for value in strings(yaml.safe_load(COMPOSE.read_text())):
        assert not re.search(r"\$\{[^{}]*\$\{\w+:?\?", value), value


def test_every_image_is_built_by_one_service() -> None:
    # Two that build the same name at once get in each other's way; a registry has neither.
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    own = {name: each for name, each in services.items() if each["image"].startswith("bluegreen-")}
    builders = [each["image"] for each in own.values() if "build" in each]
    assert sorted(builders) == sorted({each["image"] for each in own.values()})
    assert {each["pull_policy"] for each in own.values()} == {"never"}


def test_a_plain_host_has_the_same_settings() -> None:
    lines = (ROOT / "hosting" / "systemd" / "airflow.env").read_text().splitlines()
    plain = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    compose = yaml.safe_load(COMPOSE.read_text())["x-airflow"]["environment"]
    tuned = {name for name in compose if re.match(r"AIRFLOW__(SCHEDULER|WORKERS)__", name)}
    # Whether it is healthy is asked of systemd there.
    for name in tuned - {"AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"} | {
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS",
        "AIRFLOW__API_AUTH__JWT_EXPIRATION_TIME",
    }:
        assert plain[name] == compose[name], name


def test_those_that_run_tasks_share_one_cache_and_nobody_else_has_it() -> None:
    stack = yaml.safe_load(COMPOSE.read_text())
    mounted = f"cache:{stack['x-airflow']['environment']['BLUEGREEN_CACHE_DIR']}"
    having = {name for name, each in stack["services"].items() if mounted in each.get("volumes", ())}
    assert having == {"scheduler", "worker"}
    assert "cache" in stack["volumes"]
    # No other mount is lost by that.
    for name in having:
        assert set(stack["x-airflow"]["volumes"]) < set(stack["services"][name]["volumes"])


def secrets_of(service: dict[str, Any]) -> set[str]:
    return {each if isinstance(each, str) else each["source"] for each in service["secrets"]}


@pytest.mark.parametrize(
    ("secret", "expected"),
    {
        "ssh_key": {"scheduler", "worker"},
        "known_hosts": {"scheduler", "worker"},
        "admin_password": {"init", "fleet"},
        "ci_password": {"init"},
        "postgres_password": {"postgres"},
        "redis_password": {"redis"},
        "database_url": {"init", "apiserver", "scheduler", "dag-processor"},
        "fernet_key": {"init", "apiserver", "scheduler", "dag-processor"},
        "jwt_secret": {"init", "apiserver", "scheduler"},
        "api_secret_key": {"init", "apiserver", "scheduler", "worker"},
        "broker_url": {"scheduler", "worker"},
    }.items(),
)
def test_a_secret_is_where_it_is_needed_and_nowhere_else(secret: str, expected: set[str]) -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    having = {name for name, each in services.items() if secret in secrets_of({"secrets": (), **each})}
    assert having == expected


def test_whoever_has_no_way_to_the_database_has_no_address_of_it_either() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    reaching = {
        name
        for name, each in services.items()
        if "database" in each.get("networks", ()) and name != "postgres"
    }
    configured = {
        name
        for name, each in services.items()
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD" in each.get("environment", ())
    }
    assert reaching == configured == {"init", "apiserver", "scheduler", "dag-processor"}


def test_postgresql_and_redis_are_reached_by_those_that_need_them_and_reach_nothing() -> None:
    stack = yaml.safe_load(COMPOSE.read_text())
    assert stack["services"]["postgres"]["networks"] == ["database"]
    assert stack["services"]["redis"]["networks"] == ["queue"]
    for network in ("database", "queue"):
        assert stack["networks"][network] == {"internal": True}
    queue = {name for name, each in stack["services"].items() if "queue" in each.get("networks", ())}
    assert queue == {"redis", "scheduler", "worker"}


def test_every_container_but_the_sandbox_has_a_read_only_root() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    assert {name for name, each in services.items() if not each["read_only"]} == {"sandbox"}


def test_no_secret_is_a_variable() -> None:
    # `docker inspect` and `docker compose config` show those.
    stack = yaml.safe_load(COMPOSE.read_text())
    assert all(set(each) == {"file"} for each in stack["secrets"].values())
    variables = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert not variables & {name.upper() for name in stack["secrets"]}


@pytest.mark.parametrize("part", ["api-server", "dag-processor"])
def test_on_a_plain_host_too(part: str) -> None:
    unit = (ROOT / "hosting" / "systemd" / f"bluegreen-airflow-{part}.service").read_text()
    closed = {
        path.lstrip("-")
        for line in re.findall(r"^InaccessiblePaths=(.*)$", unit, re.M)
        for path in line.split()
    }
    secrets = {Path(path).name for path in closed}
    assert secrets == {"ssh_key", "postgres_password", "admin_password", "ci_password"}


def test_the_api_server_believes_a_tls_proxy_and_nobody_else_by_default() -> None:
    service = yaml.safe_load(COMPOSE.read_text())["services"]["apiserver"]
    assert "--proxy-headers" in service["command"]
    assert service["environment"]["FORWARDED_ALLOW_IPS"] == "${TRUSTED_PROXIES:-127.0.0.1}"
    unit = (ROOT / "hosting" / "systemd" / "bluegreen-airflow-api-server.service").read_text()
    assert re.search(r"^ExecStart=\S+ api-server --proxy-headers$", unit, re.M)


def test_on_two_hosts_no_task_relies_on_the_cache_of_another_one() -> None:
    for name, services in (("publish.yaml", ("scheduler", "worker")), ("worker.yaml", ("worker",))):
        text = (ROOT / "hosting" / "compose" / name).read_text()
        stack = yaml.safe_load(re.sub(r"!(reset|override)", "", text))
        for service in services:
            assert stack["services"][service]["environment"]["BLUEGREEN_CACHE_IS_SHARED"] == "False", name


def test_links_to_airflow_have_the_port_that_it_is_published_at() -> None:
    environment = yaml.safe_load(COMPOSE.read_text())["x-airflow"]["environment"]
    assert environment["AIRFLOW__API__BASE_URL"] == "${BASE_URL:-http://localhost:${UI_PORT:-8080}}"


def test_a_developer_sees_his_own_files_and_containers_cannot_change_them() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    developed = yaml.safe_load((ROOT / "docker-compose.dev.yaml").read_text())["services"]
    assert set(developed) == {name for name, each in services.items() if each["image"] == "bluegreen-airflow"}
    for each in developed.values():
        assert each["volumes"] == [
            f"./{name}:/opt/airflow/{name}:ro" for name in ("dags", "plugins", "include")
        ]
