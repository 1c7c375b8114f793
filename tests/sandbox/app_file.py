"""Other settings for the app of the shared fleet, for a while; and a chat that its notifications go to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from demo.environment import APP
from tests.sandbox.stack import Stack
from tests.unit.fake_airflow import FakeApi, serving
from tests.waiting import until

DEPLOY = f"bluegreen_deploy__{APP}"


@contextmanager
def settings(
    stack: Stack, changes: dict[str, Any], shown: Callable[[], object] | None = None
) -> Iterator[None]:
    """Change sections of the app's file, and change them back.

    Tasks read the file when they run.

    :param shown: what of the deploy's DAG tells that Airflow has read the file; it is waited for.
    """
    file = stack.environment.directory / "apps" / f"{APP}.yaml"
    before = file.read_text()
    _write(stack, file, yaml.safe_dump({**yaml.safe_load(before), **changes}), shown)
    try:
        yield
    finally:
        _write(stack, file, before, shown)


def _write(stack: Stack, file: Path, text: str, shown: Callable[[], object] | None) -> None:
    before = shown() if shown else None
    # At once: Airflow may read it at any time.
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)
    if shown:
        stack.client.read_again(DEPLOY)
        until(lambda: shown() != before, "Airflow has read the app's file")


@contextmanager
def chat(stack: Stack, *events: str) -> Iterator[tuple[FakeApi, dict[str, Any]]]:
    """Start a service that people hear of runs by.

    :param events: keys of the setting ``notifications``.
    :return: it, and the change of the app's settings.
    """
    api = FakeApi()
    api.answers["POST /chat"] = {}
    with serving(api) as address:
        name = f"chat_{address.rpartition(':')[2]}"
        stack.client.connect(name, "apprise", {"config": {"path": f"json://{address}/chat"}})
        yield api, {"notifications": {event: [name] for event in events}}


def told(api: FakeApi) -> list[str]:
    """Return what a chat was sent, each message without the link below it."""
    return [sent["message"].splitlines()[0] for _, sent in api.asked("POST")]
