"""The examples for CI systems: they call what the client takes, and trust nobody they need not."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from demo.airflow_settings import ROOT
from examples.ci import trigger_deploy as client

EXAMPLES = ["github-actions", "gitlab-ci"]


def text(name: str) -> str:
    return (ROOT / "examples" / "ci" / f"{name}.yml").read_text()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_client_takes_what_an_example_gives_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_URL", "https://airflow.example.org")
    calls = re.findall(r"python3 trigger_deploy.py (--.*)", text(name))
    assert calls
    for call in calls:
        arguments = client._arguments(shlex.split(call))
        assert arguments.app == "my_perl_app"
        # Exactly what was pushed, and not what a branch means by now.
        assert re.fullmatch(r"\$\w+_SHA", arguments.ref)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_yaml_and_runs_only_what_is_pinned(name: str) -> None:
    assert yaml.safe_load(text(name))
    for action in re.findall(r"uses:\s*(\S+)", text(name)):
        assert re.search(r"@[0-9a-f]{40}$", action)
    assert "/COMMIT/examples/ci/trigger_deploy.py" in text(name)
    assert "sha256sum --check" in text(name)


def test_github_gets_nothing_it_does_not_need_and_no_shell_sees_an_expression() -> None:
    workflow: dict[str, Any] = yaml.safe_load(text("github-actions"))
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    [job] = workflow["jobs"].values()
    fetching, deploying = job["steps"]
    assert "AIRFLOW_PASSWORD" not in str(fetching)
    assert all("${{" not in step["run"] for step in (fetching, deploying))
    # Otherwise no signal reaches the client.
    assert deploying["run"].startswith("exec ")


def test_the_page_about_ci_knows_every_exit_status() -> None:
    page = (ROOT / "docs" / "ci.md").read_text()
    assert set(re.findall(r"^\| (\d) \|", page, re.MULTILINE)) == {str(int(code)) for code in client.Exit}
    assert set(re.findall(r"^  (\d) ", client.EXPLANATION, re.MULTILINE)) == {
        str(int(c)) for c in client.Exit
    }
