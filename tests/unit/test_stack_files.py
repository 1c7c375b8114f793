"""What the files of the stack in containers say, as far as no engine is needed to see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
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
