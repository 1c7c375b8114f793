"""Proxies whose answers a test chooses."""

from __future__ import annotations

from typing import Any
from unittest.mock import create_autospec

from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.settings.app_file import load_app

GONE = DropletUnreachableError("lb is gone")


def member(name: str, **answers: Any) -> Any:
    one = create_autospec(ProxyHook, instance=True)
    one.name = name
    one.asked = []

    def call(verb: str, **_request: Any) -> dict[str, Any]:
        one.asked.append(verb)
        answer = answers.get(verb, {})
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    one.call.side_effect = call
    one.status.return_value.lock = one.status.return_value.pending = None
    one.status.return_value.last_token = None
    one.status.return_value.too_old = None
    return one


def both(first: Any, second: Any) -> ProxiesHook:
    hook = ProxiesHook(load_app("my_perl_app"), [])
    hook.members = [first, second]
    hook.tokens = {first.name: 1, second.name: 2}
    return hook
