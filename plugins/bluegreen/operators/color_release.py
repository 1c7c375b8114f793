"""Finding the droplets that have not the release of their color."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bluegreen.checks.color_release import color_release, lacking
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, ProxyError
from bluegreen.hooks.artifact_store import ArtifactStore
from bluegreen.operators.support.asking_fleet import AsksFleet
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.operators.support.seals import NO_REVISION
from bluegreen.operators.support.stored_release import stored_release
from bluegreen.run.missing_release import MissingRelease
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from bluegreen.checks.color_release import ColorRelease
    from bluegreen.checks.facts import Facts
    from bluegreen.operators.support.this_run import ThisRun

WITHOUT_KEY = "without"


class ColorReleaseOperator(AsksFleet, LockedOperator):
    """Find the droplets that are new, or were rebuilt, and what the others of their color run.

    They get the same only if that is possible: release, configuration and unit, byte for byte. Otherwise they
    stay without a release until a deploy reaches them, which is no reason for a provisioning to fail.
    """

    def act(self, run: ThisRun) -> list[dict[str, Any]]:
        """Return a :class:`MissingRelease` for each droplet that can get its color's release.

        Which droplets cannot, and why, is XCom ``without``, a text.

        :raises BlueGreenError: if the lock is another run's by now.
        """
        # Without a proxy that can be reached nothing is deployed, or nobody knows which color is live.
        if not self.held_lock.proxies:
            return []
        self.proxies().renew()
        fleet = self.read_fleet()
        facts = self.facts_of(fleet, *self.ask(fleet))
        try:
            live_color(facts.readable)
        except ProxyError as error:
            # Nothing may join a color that could be the live one.
            self.log.warning("no droplet gets a release: %s", error)
            return []
        found: list[MissingRelease] = []
        without: list[str] = []
        for color in Color:
            try:
                found += self._missing(facts, color)
            except BlueGreenError as error:
                names = ", ".join(one.name for one in lacking(facts, color))
                without.append(f"{names} without a release: {error}; deploy")
                self.log.warning("%s", without[-1])
        if without:
            run.push(WITHOUT_KEY, "; ".join(without))
        result = [one.model_dump(mode="json") for one in found]
        self.seals(run).seal_result(NO_REVISION, result)
        return result

    def _missing(self, facts: Facts, color: Color) -> list[MissingRelease]:
        """Return the droplets of a color that have no release, with the one that they are to get.

        :raises BlueGreenError: if they cannot get it.
        """
        droplets, wanted = lacking(facts, color), color_release(facts, color)
        if not droplets:
            return []
        if wanted is None:
            self.log.info("%s has no release that its new droplets could get", color)
            return []
        self._require_available(wanted, color)
        self.log.info("%s: %s lack %s", color, ", ".join(one.name for one in droplets), wanted.release)
        return [
            MissingRelease(droplet=one, release=wanted.release, configuration=wanted.configuration)
            for one in droplets
        ]

    def _require_available(self, wanted: ColorRelease, color: Color) -> None:
        store = ArtifactStore.of(self.app, self.proxies().renew_in_time)
        stored_release(store, wanted.release, wanted.configuration)
        if not wanted.is_current:
            raise BlueGreenError(
                f"{color} runs {wanted.revision[:12]} in another way than the app's file says now"
            )
