"""An app that sends everybody to https but for its health check: what its deploys prove."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager

import pytest
import requests

from demo.app_settings import PREVIEW_HOST
from tests.sandbox.app_file import settings
from tests.sandbox.stack import Stack

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(600)]


def clients_come_by_https(stack: Stack) -> AbstractContextManager[None]:
    traffic = {"preview_host": PREVIEW_HOST, "public_url": "https://www.example.com"}
    return settings(stack, {"traffic": traffic})


def assert_strangers_cannot_pretend(stack: Stack) -> None:
    """What only clients by https get, and what only those get who may look at the idle color."""
    proxy = stack.proxy()
    address = f"http://{proxy.address}/"
    for name in ("X-Forwarded-Proto", "X_Forwarded_Proto", "X-Forwarded-HTTPS", "Front-End-Https"):
        assert status(address, {name: "https"}) == 301, name
    assert status(address, {"Host": PREVIEW_HOST}) == 403
    assert status(address, {"Host": PREVIEW_HOST, "X-Preview-Key": "guessed"}) == 403
    shown = proxy.run(["curl", "-s", "-D-", "-H", f"Host: {PREVIEW_HOST}", "http://127.0.0.1/"]).stdout
    assert f"x-color: {stack.idle()}" in shown.lower()


def status(url: str, headers: dict[str, str]) -> int:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, headers=headers, timeout=10, allow_redirects=False).status_code


def test_a_bad_release_behind_a_redirect_does_not_become_live_and_a_good_one_does(stack: Stack) -> None:
    with clients_come_by_https(stack):
        ended = stack.run("deploy", ref="v7-https").expect("live and confirmed")
        assert stack.live_ref() == "v7-https"
        # Nobody else asks.
        rests_on = r"; rests on \d+ own requests to \d paths? and (none|only \d) of clients"
        assert re.search(rests_on, ended.report["message"]), ended.report["message"]
        assert ended.report["rests_on"]["own_requests"] > 50
        assert_strangers_cannot_pretend(stack)

        refused = stack.run("deploy", ref="v8-https-bad").expect("refused before the switch")
        assert re.search(r": / through .*: status 500 from revision", refused.report["message"])
        assert stack.live_ref() == "v7-https"

    refused = stack.run("deploy", ref="v8-https-bad").expect("refused before the switch")
    for words in (
        "the bake could not distinguish a good release from a bad one, so nothing was moved: / is answered",
        "with status 301 to https://",
        "(asked with the server's address as Host, by http); set traffic.public_url to how clients ask",
    ):
        assert words in refused.report["message"]
    assert stack.live_ref() == "v7-https"

    with clients_come_by_https(stack):
        # Ten times as slow as what it replaces; in an emergency that is no reason to keep it away.
        ended = stack.run("deploy", ref="v6-slow", emergency=True).expect("live and confirmed")
    assert ended.report["message"].startswith("emergency deploy of v6-slow")
    assert ended.report["record"]["emergency"] is True
