"""The new release through HAProxy, before any client sees it."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import pytest

from bluegreen.analysis import Sample
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet, Fleet
from bluegreen.operators import preview
from bluegreen.operators.preview import PreviewCheckOperator
from bluegreen.plan import Plan
from bluegreen.sampler import Sampler, Visitor

REVISION = "a" * 40
RIGHT = Sample(1, 200, REVISION, load_balancer="lb-1")
NOT_YET, SICK = (
    Sample(1, 503, None, load_balancer="lb-1"),
    Sample(1, 500, REVISION, load_balancer="lb-1"),
)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    def check(*answers: Sample, live: Sequence[Sample] = ()) -> dict[str, Any]:
        """Run the check against a preview that answers in this order, and a live color that does so."""
        left = list(answers)
        monkeypatch.setattr(Visitor, "ask", lambda *_: left.pop(0) if len(left) > 1 else left[0])
        monkeypatch.setattr(Sampler, "__enter__", lambda self: self)
        monkeypatch.setattr(Sampler, "samples", lambda _: list(live))
        monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.3)
        monkeypatch.setattr(preview, "PREVIEW_INTERVAL", 0.01)
        monkeypatch.setattr(preview, "BASELINE_SECONDS", 0)
        balancer = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("198.18.0.1"), private=None)
        fleet = Fleet(load_balancers=(balancer,), blue=(), green=())
        plan = Plan(live=Color.GREEN if live else None, idle=Color.BLUE, fleet=fleet)
        operator = PreviewCheckOperator(
            app_id="my_perl_app",
            task_id="preview_check",
            plan=plan.model_dump(mode="json"),
            revision=REVISION,
        )
        return operator.act({})

    return check


def test_a_release_that_haproxy_has_not_noticed_yet_is_asked_again(check: Any) -> None:
    assert check(NOT_YET, NOT_YET, RIGHT) == {"samples": []}


def test_a_preview_that_stays_wrong_ends_the_deploy_with_what_it_answered(check: Any) -> None:
    with pytest.raises(
        BlueGreenError,
        match=r"the preview through green\.example\.com is not right: / through lb-1: status 503",
    ):
        check(NOT_YET)


def test_another_release_in_the_preview_is_named(check: Any) -> None:
    with pytest.raises(BlueGreenError, match=f"from revision {'b' * 40}"):
        check(Sample(1, 200, "b" * 40, load_balancer="lb-1"))


def test_the_live_release_is_what_the_bake_compares_with(check: Any) -> None:
    samples = check(RIGHT, live=[Sample(7, 200, "b" * 40, load_balancer="lb-1")] * 3)["samples"]
    assert [Sample(**sample).milliseconds for sample in samples] == [7, 7, 7]


def test_a_path_that_is_broken_in_the_live_release_too_is_a_warning(
    check: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    live = [Sample(1, 500, "b" * 40, load_balancer="lb-1")] * 5
    assert len(check(SICK, live=live)["samples"]) == 5
    said = capsys.readouterr().out
    assert "/ through lb-1: status 500" in said
    assert "5 of 5 requests to / failed before the switch already" in said


def test_a_path_that_works_in_the_live_release_must_work_in_the_new_one(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="status 500"):
        check(SICK, live=[Sample(1, 500, "b" * 40)] * 5 + [Sample(1, 200, "b" * 40)])


def test_a_droplet_that_is_not_there_is_not_excused_by_a_broken_path(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="status 503"):
        check(NOT_YET, live=[Sample(1, 500, "b" * 40)] * 5)
