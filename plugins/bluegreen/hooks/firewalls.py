"""DigitalOcean's Cloud Firewalls of an app."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Fleet
from bluegreen.fleet.firewalls import (
    Firewall,
    choose_firewall,
    is_as_wanted,
    openings_of,
    untagged,
    wanted_firewalls,
)
from bluegreen.hooks.digitalocean import DigitalOceanError, described
from bluegreen.hooks.entry_point import EntryPointHook
from bluegreen.polling import Deadline, poll
from bluegreen.settings.app import App
from bluegreen.settings.fleet import EntryPoint

Json = dict[str, Any]
# Until DigitalOcean has changed the droplets' rules.
APPLY_SECONDS, POLL_SECONDS = 60.0, 1.0


class FirewallsHook(EntryPointHook):
    """Firewalls of one DigitalOcean account."""

    def firewalls(self) -> list[Json]:
        """Return every firewall of the account, each with rules that can be read."""
        with self._needing("read"):
            items = list(self._list("firewalls", self.client.firewalls.list))
        for item in items:
            with described("firewalls", item):
                openings_of(item)
        return items

    def put_up(self, app: App) -> list[str]:
        """Create the app's firewalls, or correct them, and put its droplets behind them.

        Each firewall is in effect before a droplet gets its tag. The proxies have their tag before the app
        droplets, which let in nobody else. So no request is lost; killed anywhere, the next call goes on.

        :return: what was changed, a line each.
        :raises FleetError: if a firewall of that name is not this app's, or does not take effect.
        :raises DigitalOceanError: if the API refuses.
        """
        existing, changed = self.firewalls(), []
        fleet = Fleet.of(self.droplets(app.fleet.tags.app), app.fleet.tags)
        proxies, servers = wanted_firewalls(app, self._balancer_id(app))
        # Both are looked at before anything is changed.
        chosen = {wanted: choose_firewall(wanted, existing) for wanted in (proxies, servers)}
        without_tag = untagged(fleet, app)
        # A firewall can name only tags that exist.
        self._make_tags(wanted.tag for wanted in chosen)
        for wanted, there in chosen.items():
            if done := self._put_up(wanted, there):
                changed.append(done)
            if strangers := [one.name for one in self.droplets(wanted.tag) if one.id not in _ids(fleet)]:
                raise FleetError(
                    f"{', '.join(sorted(strangers))} carries the tag {wanted.tag} and is not this app's; "
                    "remove it there"
                )
            if droplets := without_tag[wanted.tag]:
                self.tag_droplets(wanted.tag, droplets)
                changed.append(f"{', '.join(one.name for one in droplets)} put behind {wanted.name}")
        return changed

    def _put_up(self, wanted: Firewall, existing: Json | None) -> str | None:
        if existing is None:
            action, body = "created", wanted.request()
            with self._needing("create"):
                answer = self._call(f"create firewall {wanted.name}", self.client.firewalls.create, body=body)
        elif not is_as_wanted(wanted, existing):
            action, body = "changed", wanted.request(existing)
            with self._needing("update"):
                answer = self._call(
                    f"change firewall {wanted.name}",
                    self.client.firewalls.update,
                    firewall_id=existing["id"],
                    body=body,
                )
        else:
            return None
        self._wait_for(str(self._member(self._member(answer, "firewall", dict), "id", str)), wanted.name)
        return f"firewall {wanted.name} {action}"

    @contextmanager
    def _needing(self, right: str) -> Iterator[None]:
        """Name the scope that the token lacks, which DigitalOcean's answer does not."""
        try:
            yield
        except DigitalOceanError as error:
            if "(403)" not in str(error):
                raise
            raise DigitalOceanError(
                f"{error}; give the token of connection {self.conn_id!r} the scope firewall:{right}, or set "
                "fleet.firewalls to false",
                transient=False,
            ) from None

    def _wait_for(self, identifier: str, name: str) -> None:
        """Wait until a firewall is in effect.

        :raises FleetError: if it is not in time.
        """

        def in_effect() -> bool | None:
            answer = self._call(f"show firewall {name}", self.client.firewalls.get, firewall_id=identifier)
            shown = self._member(answer, "firewall", dict)
            if shown.get("status") == "failed":
                raise FleetError(f"DigitalOcean could not put up firewall {name}; provision again")
            return True if shown.get("status") == "succeeded" else None

        poll(
            in_effect,
            missing=f"firewall {name} is not in effect; provision again",
            every=POLL_SECONDS,
            deadline=Deadline(),
            seconds=APPLY_SECONDS,
            report=lambda error: self.log.info("%s", error),
        )

    def _balancer_id(self, app: App) -> str | None:
        if app.fleet.entry_point is not EntryPoint.MANAGED_LOAD_BALANCER:
            return None
        return balancer_id(app, self.load_balancers())

    def _make_tags(self, tags: Iterable[str]) -> None:
        known = {str(one.get("name")).casefold() for one in self._list("tags", self.client.tags.list)}
        for tag in tags:
            if tag.casefold() not in known:
                self._call(f"create tag {tag}", self.client.tags.create, body={"name": tag})


def balancer_id(app: App, balancers: list[Json]) -> str | None:
    """Return the id of the app's managed load balancer, if there is one."""
    tag = app.fleet.tags.balanced
    return next((str(one["id"]) for one in balancers if one.get("tag") == tag), None)


def _ids(fleet: Fleet) -> set[int]:
    return {one.id for one in fleet.droplets}
