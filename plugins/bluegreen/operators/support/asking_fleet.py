"""What the tasks share that ask a whole fleet before anything is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bluegreen.checks.account_facts import Account
from bluegreen.checks.facts import AppServer, Facts, Reading
from bluegreen.checks.gather.ask_machine import ask_app_server, attempt
from bluegreen.checks.gather.collect import reachable
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.droplet import CONNECTIONS_AT_ONCE
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.operators.support.base import TaskOfApp
from bluegreen.traffic.agent_answers import ProxyStatus

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet, Fleet


class AsksFleet(TaskOfApp):
    """A task that asks every proxy and every application droplet."""

    def ask(
        self, fleet: Fleet
    ) -> tuple[dict[Droplet, ProxyStatus | BlueGreenError], dict[Droplet, AppServer | BlueGreenError]]:
        """Ask every droplet at once; return what proxies say, and what application droplets say."""
        servers = reachable(fleet.blue + fleet.green)
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as pool:
            statuses = pool.map(self._status, fleet.proxies)
            facts = pool.map(self._facts, servers)
            return (
                dict(zip(fleet.proxies, statuses, strict=True)),
                dict(zip(servers, facts, strict=True)),
            )

    def _status(self, droplet: Droplet) -> ProxyStatus | BlueGreenError:
        return attempt(lambda: ProxyHook.of(droplet, self.app).status())

    def _facts(self, droplet: Droplet) -> AppServer | BlueGreenError:
        return ask_app_server(self.app, droplet).answer

    def facts_of(
        self,
        fleet: Fleet,
        statuses: Mapping[Droplet, ProxyStatus | BlueGreenError],
        servers: Mapping[Droplet, AppServer | BlueGreenError],
    ) -> Facts:
        """Return what the checks look at, as far as it is known before a deploy."""
        now = time.time()
        return Facts(
            app=self.app,
            # Whoever has no role was found by read_fleet already.
            account=Account(()),
            fleet=fleet,
            source=None,
            statuses={droplet.name: status for droplet, status in statuses.items()},
            proxies={},
            servers={one.name: Reading(server, now, now) for one, server in servers.items()},
            config=None,
            taken_at=now,
        )
