"""A switch to an irreversible release: on proxies where traffic has moved it stays, so the others follow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agent.protocol import Code, Verb
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import combined, on_all

# Seconds for which a proxy that fails is asked again while others have moved, and between two attempts.
FOLLOW_SECONDS, PAUSE = 30.0, 1.0


def switch_for_good(
    members: Sequence[ProxyHook], tokens: Mapping[str, int], request: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Move traffic on all proxies; each keeps it at once. Return the answers by droplet name.

    :param tokens: lock tokens by droplet name.
    :param request: the request of the verb ``switch``, which all have prepared.
    :raises BlueGreenError: if none has moved; or if some have, naming those that did not follow.
    """
    answers: dict[str, dict[str, Any]] = {}
    ends = time.monotonic() + FOLLOW_SECONDS

    def attempt(member: ProxyHook) -> dict[str, Any] | BlueGreenError:
        try:
            return member.call(Verb.SWITCH, token=tokens[member.name], **request)
        except BlueGreenError as error:
            return error

    while True:
        found = on_all([one for one in members if one.name not in answers], attempt)
        failed = {name: one for name, one in found.items() if isinstance(one, BlueGreenError)}
        answers |= {name: one for name, one in found.items() if not isinstance(one, BlueGreenError)}
        if not failed:
            return answers
        if not answers:
            raise combined(list(failed.values()))
        if time.monotonic() > ends:
            break
        time.sleep(PAUSE)
    why = combined(list(failed.values()))
    error = ProxyError(
        f"traffic goes to {request['to']} on {', '.join(sorted(answers))} and stays there, because the "
        f"release is irreversible; {', '.join(sorted(failed))} did not follow: {why}",
        code=Code.NOT_MOVED,
    )
    error.transient = why.transient
    raise error
