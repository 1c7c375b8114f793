"""The release that every droplet of a color is to have, and the droplets that lack it.

A droplet that is new, or was rebuilt, has none. Provisioning installs what its color has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.release_name import is_release, revision_of
from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, warning
from bluegreen.checks.gather.expected import has_units_of
from bluegreen.color import Color
from bluegreen.fleet.droplets import Droplet
from bluegreen.release.configuration import templates_of
from bluegreen.release.release import pairing
from bluegreen.traffic.agent_answers import GoodRelease
from bluegreen.traffic.live import confirmed_revision, good_releases


@dataclass(frozen=True)
class ColorRelease:
    """What the droplets of a color run.

    :param release: its name.
    :param configuration: the digest of the configuration that it runs with.
    :param is_current: whether the settings as they are now give the very unit that these droplets have.
    """

    release: str
    configuration: str
    is_current: bool

    @property
    def revision(self) -> str:
        """The release's revision."""
        return revision_of(self.release)


def color_release(facts: Facts, color: Color) -> ColorRelease | None:
    """Return what the droplets of a color run, and have been healthy with, or else what was confirmed there.

    ``None`` if there is nothing, if they differ or, where the color may be live, if it was not confirmed:
    nothing joins the live color unproven.
    """
    statuses = facts.readable.values()
    found = _running(facts, color)
    known = found or [_confirmed(facts, color, good) for good in good_releases(color, statuses)]
    if len({(each.release, each.configuration) for each in known}) != 1:
        return None
    one = replace(known[0], is_current=all(each.is_current for each in known))
    is_proven = one.revision == confirmed_revision(color, statuses)
    return one if is_proven or not _may_be_live(facts, color) else None


def _may_be_live(facts: Facts, color: Color) -> bool:
    return color is facts.live or not facts.is_live_known


def _running(facts: Facts, color: Color) -> list[ColorRelease]:
    """Return what each droplet of a color runs that has been healthy with it."""
    found = []
    for droplet, server in facts.read_servers():
        used = server.configuration
        if droplet not in facts.fleet.color(color) or used is None or used.problem is not None:
            continue
        release = str(server.current)
        was_healthy = (release, used.digest) in {(one.release, one.configuration) for one in server.activated}
        if not is_release(release) or not was_healthy:
            continue
        expected = pairing(facts.app, release, used.digest, str(droplet.private))
        is_current = has_units_of(facts.app, server, expected)
        found.append(ColorRelease(release, used.digest, is_current))
    return found


def _confirmed(facts: Facts, color: Color, good: GoodRelease) -> ColorRelease:
    """Return what was confirmed last on a color none of whose droplets can be asked, or has it.

    A unit contains its droplet's address. So the units of now can be compared with those that were confirmed
    only where a droplet has kept its address; nothing joins the live color without that.
    """
    now = {
        one.name: pairing(facts.app, good.release, good.configuration, str(one.private)).digest
        for one in facts.fleet.color(color)
    }
    is_current = any(good.pairings.get(name) == digest for name, digest in now.items())
    return ColorRelease(good.release, good.configuration, is_current or not _may_be_live(facts, color))


def lacking(facts: Facts, color: Color) -> list[Droplet]:
    """Return the droplets of a color that have no release, of those that could be read."""
    return [
        droplet
        for droplet, server in facts.read_servers()
        if droplet in facts.fleet.color(color) and server.current is None and server.running is None
    ]


def releases(facts: Facts) -> Iterator[Finding]:
    """Every droplet has the release of its color."""
    left_out = [one.droplet for one in facts.joining.left_out]
    for color in Color:
        wanted = color_release(facts, color)
        if wanted is None:
            continue
        for droplet in [one for one in lacking(facts, color) if one not in left_out]:
            yield warning(
                droplet.name,
                f"it has not its color's release, {wanted.revision[:12]}",
                _advice(facts, wanted),
            )


def _advice(facts: Facts, wanted: ColorRelease) -> str:
    """Return how a droplet gets its color's release: provisioning gives it the very same, or nothing."""
    delivered, depends = facts.configuration, templates_of(facts.app)
    if isinstance(delivered, str) and delivered != wanted.configuration and not depends:
        return "deploy: the environment, or the files, that it runs with were changed in Airflow since"
    if not wanted.is_current:
        return "deploy: the app's file has other settings now than it runs with"
    return f"run bluegreen_provision__{facts.app.id}, which installs it from the artifact store"
