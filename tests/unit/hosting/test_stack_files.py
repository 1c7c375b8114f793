"""What the files of the stack in containers say, as far as no engine is needed to see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    for name in tuned - {"AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"} | {"AIRFLOW__CORE__LAZY_LOAD_PLUGINS"}:
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
