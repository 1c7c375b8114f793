"""The new release through HAProxy, before any client sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.operators import preview_check as preview
from bluegreen.operators.preview_check import PreviewCheckOperator
from bluegreen.operators.support.this_run import ThisRun
from bluegreen.run.plan import Plan
from bluegreen.validation.own_requests import Sample
from bluegreen.validation.sampler import KEY_REFUSED, ProbeClient, Sampler, Target
from tests.unit.runs import running

REVISION = "a" * 40
RIGHT = Sample(1, 200, REVISION, proxy="lb-1")
RIGHT_HEALTH = Sample(1, 200, REVISION, path="/health", proxy="lb-1")
MOVED = Sample(1, 301, REVISION, proxy="lb-1", location="https://www.example.com/")
NOT_YET, SICK = (
    Sample(1, 503, None, proxy="lb-1"),
    Sample(1, 500, REVISION, proxy="lb-1"),
)
REFUSED = Sample(1, None, None, proxy="lb-1", error=KEY_REFUSED, lost=True)


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Any:
    def check(*answers: Sample, live: Sequence[Sample] = (), **fields: Any) -> dict[str, Any]:
        """Run the check against a preview that answers in this order, and a live color that does so."""
        left = list(answers)
        paths, emergency = fields.pop("paths", ["/"]), fields.pop("emergency", False)

        def ask(_: ProbeClient, target: Target) -> Sample:
            # Health is as it should be, unless a test is about it.
            if target[0] not in paths:
                return RIGHT_HEALTH
            return replace(left.pop(0) if len(left) > 1 else left[0], path=target[0])

        if hangs := fields.pop("hangs", None):
            ask = hangs
        monkeypatch.setattr(ProbeClient, "ask", ask)
        monkeypatch.setattr(preview, "preview_key", lambda _: "k" * 16)
        monkeypatch.setattr(Sampler, "__enter__", lambda self: self)
        monkeypatch.setattr(Sampler, "samples", lambda _: list(live))
        monkeypatch.setattr(preview, "PREVIEW_SECONDS", 0.3)
        monkeypatch.setattr(preview, "PREVIEW_INTERVAL", 0.01)
        monkeypatch.setattr(preview, "BASELINE_SECONDS", 0)
        proxy = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("198.18.0.1"), private=None)
        idle = (proxy,) * fields.pop("droplets", 0)
        fleet = Fleet(proxies=(proxy,), blue=idle, green=())
        plan = Plan(live=Color.GREEN if live else None, idle=Color.BLUE, fleet=fleet)
        operator = PreviewCheckOperator(
            app_id="my_perl_app",
            task_id="preview_check",
            lock={"proxies": [], "tokens": {"lb-1": 7}},
            plan=plan.model_dump(mode="json"),
            revision=REVISION,
            **fields,
        )
        validation = operator.app.validation.model_copy(update={"paths": paths})
        operator.__dict__["app"] = operator.app.model_copy(update={"validation": validation})
        params = {"emergency": emergency}
        run: Any = {**running("preview_check").context, "params": params}
        run["dag"].params = params
        return operator.act(ThisRun(run))

    return check


def test_a_release_that_haproxy_has_not_noticed_yet_is_asked_again(check: Any) -> None:
    assert check(NOT_YET, NOT_YET, RIGHT) == {"samples": [], "unproven": []}


def test_a_preview_that_stays_wrong_ends_the_deploy_with_what_it_answered(check: Any) -> None:
    with pytest.raises(
        BlueGreenError,
        match=r"the preview through green\.example\.com is not right: / through lb-1: status 503",
    ):
        check(NOT_YET)


def test_a_deploy_ends_if_haproxy_refuses_the_preview(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="HAProxy does not know this preview key"):
        check(REFUSED)


def test_a_rollback_does_not_need_the_preview(check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(REFUSED, paths=["/", "/health"], goes_back=True) == {"samples": [], "unproven": []}
    assert "HAProxy does not know this preview key" in capsys.readouterr().out


def test_another_release_in_the_preview_is_named(check: Any) -> None:
    with pytest.raises(BlueGreenError, match=f"from revision {'b' * 40}"):
        check(Sample(1, 200, "b" * 40, proxy="lb-1"))


def test_the_live_release_is_what_the_bake_compares_with(check: Any) -> None:
    samples = check(RIGHT, live=[Sample(7, 200, "b" * 40, proxy="lb-1")] * 3)["samples"]
    assert [Sample(**sample).milliseconds for sample in samples] == [7, 7, 7]


def live_answers(*answers: Sample) -> list[Sample]:
    """What the live release answers, again and again."""
    return [replace(answer, revision="b" * 40) for answer in answers] * 5


def test_a_path_that_is_broken_in_the_live_release_too_is_a_warning(
    check: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    live = live_answers(SICK, replace(RIGHT, path="/other"))
    seen = check(SICK, RIGHT, SICK, RIGHT, live=live, paths=["/", "/other"])
    assert (len(seen["samples"]), seen["unproven"]) == (10, ["/"])
    said = capsys.readouterr().out
    assert (
        "/ is answered by blue with status 500, the live green with status 500; no verdict rests on it"
        in said
    )
    assert "5 of 5 requests to / failed before the switch already" in said


def test_a_path_of_which_some_answers_are_good_is_judged_though_the_live_release_has_none(check: Any) -> None:
    assert check(SICK, RIGHT, live=live_answers(SICK), droplets=2)["unproven"] == []


@pytest.mark.parametrize("answer", [SICK, MOVED, replace(MOVED, status=404, location=None)])
def test_a_deploy_is_refused_if_nothing_could_tell_a_good_release_from_a_bad_one(
    check: Any, answer: Sample
) -> None:
    with pytest.raises(BlueGreenError) as refused:
        check(answer, live=live_answers(answer))
    said = str(refused.value)
    assert said.startswith(
        "the bake could not distinguish a good release from a bad one, so nothing was moved: "
    )
    assert f"/ is answered by blue with status {answer.status}" in said
    assert f", the live green with status {answer.status}" in said
    assert "(asked with the server's address as Host, by http)" in said
    assert ("set traffic.public_url to how clients ask" in said) == (answer is not SICK)


def test_a_redirect_says_where_it_leads(check: Any) -> None:
    with pytest.raises(
        BlueGreenError, match=r"status 301 to https://www\.example\.com/, allowed are 200 to 299"
    ):
        check(MOVED, live=live_answers(MOVED))


def test_health_alone_is_no_proof_if_a_path_of_the_settings_proves_nothing(
    check: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    live = live_answers(MOVED, replace(RIGHT, path="/health"))
    with pytest.raises(BlueGreenError) as refused:
        check(MOVED, RIGHT, live=live, paths=["/", "/health"])
    assert "could not distinguish a good release from a bad one" in str(refused.value)
    assert "/ is answered by blue with status 301" in str(refused.value)
    # A rollback needs no proof, and whoever wants the health path alone gets it.
    assert check(MOVED, RIGHT, live=live, paths=["/", "/health"], goes_back=True)["unproven"] == ["/"]
    assert check(RIGHT, live=live, paths=["/health"])["unproven"] == []
    assert "/health alone is asked (validation.paths)" in capsys.readouterr().out


def test_a_first_release_that_proves_nothing_is_refused(check: Any) -> None:
    with pytest.raises(BlueGreenError, match=r"status 301 .*; set traffic\.public_url to how clients ask"):
        check(MOVED)


def test_a_path_that_only_the_new_release_answers_proves_something(check: Any) -> None:
    assert check(RIGHT, live=live_answers(SICK))["unproven"] == []


def test_an_empty_page_where_the_live_release_has_content_is_not_right(check: Any) -> None:
    full, empty = replace(RIGHT, size=2000), replace(RIGHT, size=0)
    with pytest.raises(BlueGreenError, match="is empty; the live release answers / with content"):
        check(empty, live=live_answers(full))
    assert check(empty, live=live_answers(empty))
    assert check(empty)
    # A live release that is wrong may not say what its replacement has to be like.
    assert check(empty, live=live_answers(full), emergency=True)


def test_a_rollback_is_not_refused_for_what_it_cannot_prove(check: Any) -> None:
    missing = replace(MOVED, status=404, location=None)
    assert check(missing, live=live_answers(RIGHT), goes_back=True)["unproven"] == ["/"]
    assert check(MOVED, live=live_answers(MOVED), goes_back=True)["unproven"] == ["/"]
    with pytest.raises(BlueGreenError, match="status 500"):
        check(SICK, live=live_answers(RIGHT), goes_back=True)


def test_every_droplet_has_its_turn(check: Any) -> None:
    with pytest.raises(BlueGreenError, match=f"from revision {'b' * 40}"):
        check(RIGHT, replace(RIGHT, revision="b" * 40), droplets=2)


def test_a_preview_that_hangs_is_given_up_in_time(check: Any) -> None:
    asked: list[Any] = []

    def slow(*asks: Any) -> Sample:
        asked.append(asks)
        time.sleep(0.1)
        return Sample(100, None, None, "no answer after 5 s", proxy="lb-1")

    with pytest.raises(BlueGreenError, match=r"no whole answer \(no answer after 5 s\)"):
        check(droplets=100, hangs=slow)
    # Not all of those that were left to be asked.
    assert len(asked) < 100


def test_a_path_that_works_in_the_live_release_must_work_in_the_new_one(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="status 500"):
        check(SICK, live=[Sample(1, 500, "b" * 40)] * 5 + [Sample(1, 200, "b" * 40)])


def test_a_droplet_that_is_not_there_is_not_excused_by_a_broken_path(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="status 503"):
        check(NOT_YET, live=[Sample(1, 500, "b" * 40)] * 5)


def test_health_is_not_excused_by_a_live_release_that_does_not_answer_it_either(check: Any) -> None:
    with pytest.raises(BlueGreenError, match="/health through lb-1: status 500"):
        check(SICK, live=[Sample(1, 500, "b" * 40, path="/health")] * 5, paths=["/health"])
