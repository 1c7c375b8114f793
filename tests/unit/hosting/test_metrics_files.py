"""Mapping, alarms and documentation know every figure that is sent, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from airflow.sdk.configuration import conf as task_conf

from bluegreen.operators.support.metrics import Watched, certificates, findings_of, locked, processes
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.settings.app_file import load_app
from tests.unit.certificate_authority import issued

ROOT = Path(__file__).resolve().parents[3]
MAPPING = yaml.safe_load((ROOT / "hosting/metrics/statsd-mapping.yaml").read_text())["mappings"]
ALERTS = (ROOT / "hosting/metrics/alerts.yaml").read_text()
DOCUMENTATION = (ROOT / "docs/operations.md").read_text()
APP = "my_perl_app"
RECORD = {"requests": 1, "failed": 0, "switch_ms": 1.0}

RUN = Watched("deploy", APP)
FIGURES = [
    *RUN.at_start(0, load_app(APP), {}),
    *RUN.at_end(0, {"outcome": "live and confirmed", "record": RECORD}),
    *locked(APP, 0),
    *findings_of(APP, []),
    *processes(APP, well=True),
    *certificates(APP, {"www": issued("www.example.com")}),
]


def in_documentation(figure: str) -> str:
    """Return a figure as the page names it."""
    names = {"live_and_confirmed": "outcome", "deploy": "kind", APP: "app", "www": "name"}
    return ".".join(f"<{names[part]}>" if part in names else part for part in figure.split("."))


def mapped(figure: str) -> list[Any]:
    """Return the names that the mapping has for a figure; its asterisks are statsd_exporter's."""
    return [
        one["name"]
        for one in MAPPING
        if re.fullmatch(re.escape(one["match"]).replace(r"\*", "[^.]+"), f"airflow.{figure}")
    ]


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_has_labels_and_is_documented(figure: str) -> None:
    [name] = mapped(figure)
    assert f"`{in_documentation(figure)}`" in DOCUMENTATION
    assert f"`{name}`" in DOCUMENTATION


def test_no_figure_is_documented_that_is_not_sent() -> None:
    rows = re.findall(r"^\| (`bluegreen\..*?) \| (.*?) \|", DOCUMENTATION, re.MULTILINE)
    described = {name for names, _ in rows for name in re.findall(r"`(.*?)`", names)}
    assert described == {in_documentation(figure) for figure in FIGURES}
    assert {name for _, names in rows for name in re.findall(r"`(.*?)`", names)} == {
        name for figure in FIGURES for name in mapped(figure)
    }


def test_the_alarms_ask_for_what_there_is() -> None:
    names = {name for figure in FIGURES for name in mapped(figure)}
    asked = set(re.findall(r"\b(?:bluegreen|airflow)_\w+(?=[\[{) ])", re.sub(r"bluegreen_\w+__", "", ALERTS)))
    assert asked <= names | {"airflow_scheduler_heartbeat"}


@pytest.mark.parametrize("outcome", [Outcome.UNCLEAR, Outcome.NOTHING_TO_GO_BACK_TO, UNREPORTED])
def test_the_ends_after_which_nobody_knows_are_an_alarm(outcome: str) -> None:
    [slug] = [name.rpartition(".")[2] for name in RUN.at_end(0, {"outcome": outcome}) if ".ended." in name]
    [pattern] = re.findall(r'outcome=~"(.*?)"', ALERTS)
    assert re.fullmatch(pattern, slug)
    good = {name.rpartition(".")[2] for one in Outcome for name in RUN.at_end(0, {"outcome": one})}
    assert not any(re.fullmatch(pattern, one) for one in good & {"live_and_confirmed", "rolled_back"})


def test_every_alarm_is_documented() -> None:
    [group] = yaml.safe_load(ALERTS)["groups"]
    alarms = {(one["alert"], one["labels"]["severity"]) for one in group["rules"] if "alert" in one}
    assert set(re.findall(r"^\| `(\w+)` \((critical|warning)\)", DOCUMENTATION, re.MULTILINE)) == alarms


@pytest.mark.parametrize(("host", "on"), [("", False), ("192.0.2.10", True)])
def test_one_variable_of_the_containers_switches_metrics_on(
    monkeypatch: pytest.MonkeyPatch, host: str, on: bool
) -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    [value] = re.findall(r'AIRFLOW__METRICS__STATSD_ON: "(.*)"', text)
    # As Compose does it.
    value = re.sub(r"\$\{STATSD_HOST:\+(.*?)\}", r"\1" if host else "", value)
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", value)
    assert [one.getboolean("metrics", "statsd_on") for one in (conf, task_conf)] == [on, on]
