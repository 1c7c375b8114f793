"""What may import what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bluegreen

PACKAGE = Path(str(bluegreen.__file__)).parent


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.name)
def test_the_domain_is_plain_python(path: Path) -> None:
    layers = r"^\s*(?:from|import) (?:airflow|bluegreen\.(?:dag|hooks|listeners|operators|sensors))\b.*"
    assert re.findall(layers, path.read_text(encoding="utf-8"), re.MULTILINE) == []
