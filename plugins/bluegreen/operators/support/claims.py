"""Droplets that refuse a run's token, and what they know of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from logging import getLogger
from typing import TYPE_CHECKING

from agent.protocol import Code, Verb
from bluegreen.errors import AgentRefusedError, BlueGreenError
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE
from bluegreen.hooks.droplet_agent import DropletAgentHook

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.settings.app import App

log = getLogger(__name__)

# More runs than there can have been; the agent takes no such token.
NO_TOKEN = 10**15


@contextmanager
def refusals_explained(proxies: ProxiesHook) -> Iterator[None]:
    """Explain the refusal of a run's token by a droplet, and keep later runs from meeting it again.

    :param proxies: those that the run has locked.
    :raises ProxyError: with the code ``lock_lost`` if another run holds the lock by now.
    :raises BlueGreenError: if none does: then the droplet's token was given by proxies that are gone,
        or were set back. They know it from now on.
    """
    try:
        yield
    except AgentRefusedError as error:
        found = re.search(r"its token (\d+) ", str(error))
        if error.code != Code.CLAIMED or found is None:
            raise
        file = f"/var/lib/bluegreen/{proxies.app.system_name}.token"
        if int(found[1]) >= NO_TOKEN:
            raise BlueGreenError(
                f"{error}. No run was ever given that token: remove {file}, and its twin in /run/bluegreen, "
                "on that droplet"
            ) from None
        proxies.make_known(int(found[1]))
        raise BlueGreenError(
            f"{error}. But no other run holds the lock: that token, in {file} there, is left from a "
            "proxy that is gone or was set back. The proxies know it now, so a new run is let in"
        ) from None


def newest_token(app: App, droplets: Sequence[Droplet]) -> int:
    """Return the greatest token that any of an app's droplets knows.

    One that cannot be asked is left out: if it knows a greater one, it refuses the run later.
    """

    def ask(droplet: Droplet) -> int:
        try:
            with closing(DropletAgentHook.of(droplet, app)) as agent:
                token: int = agent.read(Verb.TOKEN, app=app.system_name)["token"]
        except BlueGreenError as error:
            log.warning("not asked for the last run's token: %s", error)
            return 0
        return token if token < NO_TOKEN else 0

    if not droplets:
        return 0
    log.info("no proxy knows a token, so the droplets are asked")
    with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
        return max(pool.map(ask, droplets))
