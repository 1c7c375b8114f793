"""The page of deployments while real deploys are at work; the pictures stay in ``build/page``."""

from __future__ import annotations

import pytest

from demo.airflow_settings import ROOT
from demo.environment import APP
from tests.sandbox.browser.browser import Browser, browser
from tests.sandbox.stack import RUN_SECONDS, Ended, Stack
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(450)]


def follow(page: Browser, words: str, picture: str, seconds: float = 120) -> None:
    """Wait until the page, which loads itself again, has some words; keep a picture."""
    until(lambda: words in page.evaluate("document.body.innerText"), f"the page has {words!r}", seconds)
    page.picture(picture)


def test_a_deploy_is_followed_from_its_approval_to_its_end_and_a_bad_one_to_its_rollback(
    stack: Stack,
) -> None:
    ref, before = stack.other_ref(), stack.live()
    with browser(ROOT / "build" / "page-deploy") as page:
        page.appear(1200, 1100)
        page.open(f"{stack.airflow.url}/bluegreen/?app={APP}")
        page.type_into("username", stack.airflow.user)
        page.type_into("password", stack.airflow.password)
        page.click("Sign in")
        page.read(APP)
        page.open(f"{stack.airflow.url}/bluegreen/?app={APP}")
        # Whatever the status finds is asked for by a click.
        page.click("Refresh", tag="a")
        follow(page, "healthy", "status")

        run = stack.trigger("deploy", ref=ref, require_approval=True, bake=20, reason="a better answer")
        follow(page, "Waits for an approval", "approval")
        stack.approver.answer(run, "approval", "Approve")
        follow(page, "The proxies take it back in", "bake")
        follow(page, "not confirmed yet", "unconfirmed")
        until(lambda: bool(page.evaluate("document.querySelectorAll('polyline').length")), "the curve", 60)
        page.picture("curve")
        state = stack.client.wait(run, RUN_SECONDS)
        Ended(run, state, stack.client.xcom(run, "report", "report")).expect("live and confirmed")
        after = str(stack.live())
        assert after != before
        follow(page, f"{after} is live", "confirmed")

        stack.run("deploy", ref="v4-bad").expect("rolled back")
        follow(page, "rolled back", "rolled-back")
    assert stack.live_ref() == ref
