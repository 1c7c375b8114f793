"""The new release through HAProxy, before any client sees it."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bluegreen.analysis import Sample
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet import Droplet, Fleet
from bluegreen.operators import preview
from bluegreen.operators.preview import PreviewCheckOperator
from bluegreen.plan import Plan
from bluegreen.sampler import Sampler

REVISION = "a" * 40
RIGHT, WRONG = Sample(1, 200, REVISION), Sample(1, 503, None)


def check(monkeypatch: pytest.MonkeyPatch, *answers: Sample) -> dict[str, object]:
    """Run the check against HAProxy answers in this order, the last one over and over."""
    left = list(answers)
    monkeypatch.setattr(Sampler, "round", lambda _self: [left.pop(0) if len(left) > 1 else left[0]])
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.3)
    monkeypatch.setattr(preview, "PREVIEW_INTERVAL", 0.01)
    balancer = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("198.18.0.1"), private=None)
    plan = Plan(live=None, idle=Color.BLUE, fleet=Fleet(load_balancers=(balancer,), blue=(), green=()))
    operator = PreviewCheckOperator(
        app_id="my_perl_app", task_id="preview_check", plan=plan.model_dump(mode="json"), revision=REVISION
    )
    return operator.act({})


def test_a_release_that_haproxy_has_not_noticed_yet_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(monkeypatch, WRONG, WRONG, RIGHT) == {"samples": [], "counters": {}}


def test_a_preview_that_stays_wrong_ends_the_deploy_with_what_it_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(
        BlueGreenError, match=r"the preview through green\.example\.com is not right: status 503"
    ):
        check(monkeypatch, WRONG)


def test_another_release_in_the_preview_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BlueGreenError, match=f"from revision {'b' * 40}"):
        check(monkeypatch, Sample(1, 200, "b" * 40))
