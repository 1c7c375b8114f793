"""Who may get live traffic: nothing joins the live color unproven.

Every droplet with the live color's tags would be rendered into the live backend, and would get its share of
the traffic as soon as it answers the health path. So a droplet stays there if the running HAProxy has it
already, and joins only if its name, its host key, SSH and its revision prove that it belongs there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from agent.release_name import revision_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, HostKeyError
from bluegreen.fleet.droplets import Droplet, Fleet, droplet_names
from bluegreen.settings.app import App
from bluegreen.traffic.agent_answers import ProxyStatus
from bluegreen.traffic.live import confirmed_revision


@dataclass(frozen=True)
class RunningRelease:
    """A droplet's answer over SSH: the release of ``current``, and whether it is running.

    :param configuration: digest of the configuration that the release runs with, if that is known.
    """

    release: str | None
    is_active: bool
    configuration: str | None = None

    @property
    def revision(self) -> str | None:
        """The revision of the release."""
        return revision_of(self.release) if self.release else None


@dataclass(frozen=True)
class Objection:
    """The reason why a droplet does not join the live color, and what to do."""

    droplet: Droplet
    what: str
    advice: str

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.droplet.label}: {self.what}; {self.advice}"


@dataclass(frozen=True)
class Joining:
    """The verdict on the live color's droplets.

    :param refused: droplets that prevent a deploy.
    :param left_out: droplets that belong there but do not run the live revision: they get no traffic.
    """

    refused: tuple[Objection, ...] = ()
    left_out: tuple[Objection, ...] = ()

    def for_deploy(self, fleet: Fleet) -> Fleet:
        """Return the fleet that a deploy renders, without the droplets that are left out."""
        return fleet.without(one.droplet for one in self.left_out)


def joining(
    app: App,
    fleet: Fleet,
    live: Color | None,
    statuses: Collection[ProxyStatus],
    seen: Mapping[Droplet, RunningRelease | BlueGreenError],
) -> Joining:
    """Judge each droplet of the live color.

    :param live: the live color; ``None`` if nothing is live, so that there is nothing to join.
    :param statuses: the answers of the proxies that are reachable.
    :param seen: the answer of each droplet of that color, or the reason why there is none.
    """
    if live is None:
        return Joining()
    known = known_servers(live, statuses)
    members = fleet.color(live)
    running = [seen[one] for one in members if _key(one) in known]
    revision = _live_revision(live, statuses, running)
    judge = _Judge(app, live, revision, _releases_of(revision, running))
    refused, left_out = [], []
    for droplet in members:
        state = seen[droplet]
        if _key(droplet) in known:
            objection = judge.of_known(droplet, state)
        else:
            objection = judge.of_unknown(droplet, state)
            if objection is None and isinstance(state, RunningRelease) and not judge.runs_live_release(state):
                left_out.append(judge.of_new(droplet, state))
        if objection is not None:
            refused.append(objection)
    if len(left_out) == len(members) and not any(_is_serving(seen[one]) for one in members):
        # All live droplets are gone. Their replacements serve nothing yet, and a backend must not be
        # empty.
        left_out = []
    return Joining(tuple(refused), tuple(left_out))


def known_servers(color: Color, statuses: Collection[ProxyStatus]) -> set[tuple[str, IPv4Address]]:
    """Return name and private address of each server of a color in the running HAProxies."""
    return {(server.name, server.address) for one in statuses for server in one.servers.get(color, ())}


def strangers(fleet: Fleet, statuses: Collection[ProxyStatus]) -> list[Droplet]:
    """Return the application droplets that no running HAProxy has: a rollback goes on without them.

    They have never had traffic, so they are not a target of a rollback, and must not prevent one. If HAProxy
    has no droplet of a color at all, HAProxy has lost its configuration, and the droplets are not new.
    """
    found: list[Droplet] = []
    for color in Color:
        known, members = known_servers(color, statuses), fleet.color(color)
        unknown = [droplet for droplet in members if _key(droplet) not in known]
        found += unknown if len(unknown) < len(members) else []
    return found


@dataclass(frozen=True)
class _Judge:
    app: App
    live: Color
    revision: str | None
    releases: frozenset[tuple[str, str | None]]

    @property
    def tag(self) -> str:
        tags = self.app.fleet.tags
        return tags.blue if self.live is Color.BLUE else tags.green

    def of_known(self, droplet: Droplet, state: RunningRelease | BlueGreenError) -> Objection | None:
        """Keep a droplet that is off or unreachable as it is: the deploy of a fix must not wait for it."""
        if isinstance(state, HostKeyError):
            return self._refused(droplet, f"HAProxy has it, but {state}")
        if isinstance(state, BlueGreenError) and droplet.host_key is None:
            return self._refused(
                droplet, f"HAProxy has it, but no SSH host key of it is recorded, and {state}"
            )
        return None

    def of_unknown(self, droplet: Droplet, state: RunningRelease | BlueGreenError) -> Objection | None:
        if droplet_names(self.app).get(droplet.name) != self.tag:
            return self._refused(droplet, f"the settings ask for no droplet of that name in {self.live}")
        if droplet.private is None:
            return self._refused(droplet, "it has no private address")
        if isinstance(state, BlueGreenError):
            return self._refused(droplet, str(state))
        return None

    def of_new(self, droplet: Droplet, state: RunningRelease) -> Objection:
        runs = state.revision[:12] if state.revision else "no release"
        if state.revision and not state.is_active:
            runs = f"{runs}, stopped,"
        elif state.revision and state.revision == self.revision:
            same = state.release in {release for release, _ in self.releases}
            runs = f"{runs} with another configuration" if same else f"another artifact of {runs}"
        wanted = self.revision[:12] if self.revision else "the live release, which is not known"
        return Objection(
            droplet,
            f"it is new in the live color ({self.live}) and has {runs} instead of {wanted}, so it gets no "
            "traffic",
            f"run bluegreen_provision__{self.app.id}, which installs it from the artifact store"
            if state.revision is None
            else f"a deploy reaches it when {self.live} is idle: the next one moves traffic away from there, "
            "the one after it comes here",
        )

    def runs_live_release(self, state: RunningRelease) -> bool:
        """Whether it runs the live revision: the same artifact and configuration as who is live already."""
        if not state.is_active or state.revision is None or state.revision != self.revision:
            return False
        return not self.releases or (state.release, state.configuration) in self.releases

    def _refused(self, droplet: Droplet, why: str) -> Objection:
        return Objection(
            droplet,
            f"it carries the tag of the live color ({self.tag}) and is not proven to belong there: {why}",
            f"fix that, or remove the tag {self.tag} or the droplet; nothing was changed",
        )


def _key(droplet: Droplet) -> tuple[str, IPv4Address | None]:
    return droplet.name, droplet.private


def _is_serving(state: RunningRelease | BlueGreenError) -> bool:
    return isinstance(state, RunningRelease) and state.is_active


def _releases_of(
    revision: str | None, of_known: Collection[RunningRelease | BlueGreenError]
) -> frozenset[tuple[str, str | None]]:
    """Return what the droplets in HAProxy run of the live revision; more than one is drift.

    Each is a release, with the digest of its configuration.
    """
    running = (one for one in of_known if isinstance(one, RunningRelease))
    return frozenset(
        (one.release, one.configuration) for one in running if one.release and one.revision == revision
    )


def _live_revision(
    live: Color,
    statuses: Collection[ProxyStatus],
    of_known: Collection[RunningRelease | BlueGreenError],
) -> str | None:
    """Return the confirmed live revision, or else the one that all droplets in HAProxy run."""
    running = {one.revision for one in of_known if isinstance(one, RunningRelease) and one.revision}
    return confirmed_revision(live, statuses) or (running.pop() if len(running) == 1 else None)
