"""How tasks fail."""

from __future__ import annotations

import pytest

from bluegreen.operators.support.failures import failures_reported
from tests.unit.runs import context

pytestmark = pytest.mark.usefixtures("trusting")


def test_a_mistake_of_ours_is_named_in_the_report_without_its_text() -> None:
    run = context()
    with pytest.raises(KeyError), failures_reported(run):
        raise KeyError("secret")
    assert run["ti"].said == {"error": "unexpected KeyError in report, see its log"}
