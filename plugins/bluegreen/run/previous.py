"""What a rollback goes back to: a release, with the configuration and the units that it was healthy with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from agent.release_name import revision_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.agent_answers import GoodRelease, StartedRelease

# The tasks that start a release, as a record's phases name their instances.
_STARTS = re.compile(r"(deploy|restore)_\d+$")


class HealthyPairing(BaseModel):
    """What was healthy on one droplet: a release, its configuration and its unit.

    :param configuration: its digest.
    :param pairing: the SHA-256 of the app's systemd unit there.
    :param address: where the app listened, with ``port``.
    :param confirmed: whether a switch to it is known to have been confirmed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    configuration: str
    pairing: str
    address: str
    port: int
    confirmed: bool


# By droplet name, what was healthy there, the latest first.
Healthy = Mapping[str, Sequence[HealthyPairing]]


class PreviousRelease(StartedRelease):
    """What a rollback goes back to; it was healthy on every idle droplet.

    :param confirmed: whether it is known to have been confirmed, as it is.
    :param is_running: whether the idle droplets run it already.
    :param from_store: names of the droplets that do not have it, and get it from the artifact store.
    """

    confirmed: bool = False
    is_running: bool = False
    from_store: tuple[str, ...] = ()

    @property
    def revision(self) -> str:
        """The release's revision."""
        return revision_of(self.release)

    @classmethod
    def of_good(cls, good: GoodRelease, now: Mapping[str, str]) -> PreviousRelease:
        """Return what was confirmed last, on the droplets that there are.

        :param now: by droplet, the pairing that the settings of now give; it counts for those that did not
            run it when it was confirmed.
        """
        return cls(
            release=good.release,
            configuration=good.configuration,
            pairings={name: good.pairings.get(name, pairing) for name, pairing in now.items()},
            confirmed=True,
        )

    @classmethod
    def of_live(cls, live: Record, now: Mapping[str, str], healthy: Healthy) -> PreviousRelease:
        """Return what was live once, on the droplets that there are.

        :param live: of a run that ended with it.
        :param now: by droplet, the pairing that the settings of now give; it counts for those that do not
            have it.
        """
        key = live.release, live.configuration
        there = {
            name: next((one.pairing for one in known if (one.release, one.configuration) == key), None)
            for name, known in healthy.items()
        }
        return cls(
            release=str(live.release),
            configuration=str(live.configuration),
            pairings={name: there[name] or pairing for name, pairing in now.items()},
            from_store=tuple(name for name in now if there[name] is None),
        )

    def on_replaced(self, now: Mapping[str, str], healthy: Healthy) -> PreviousRelease:
        """Return it for droplets some of which do not have it any more, because they were replaced.

        These start it with the unit that the settings of now give, which has their address.

        :param now: by droplet, the pairing with that unit.
        """
        pairings, from_store = {}, []
        for name, confirmed in self.pairings.items():
            there = {one.pairing for one in healthy[name]}
            pairings[name] = confirmed if confirmed in there else now[name]
            if pairings[name] not in there:
                from_store.append(name)
        return self.model_copy(update={"pairings": pairings, "from_store": tuple(from_store)})


def named_release(wanted: str, healthy: Healthy, color: Color) -> PreviousRelease:
    """Return the release of the one revision that begins like this and was healthy on every droplet.

    What was confirmed counts more than what only was healthy. One that was built more than once, or started
    with several configurations, is taken as it was healthy last.

    :param wanted: a revision, or its beginning.
    :raises BlueGreenError: if there is none, or more than one.
    """
    confirmed = {name: [one for one in known if one.confirmed] for name, known in healthy.items()}
    found = [one for one in _on_all(confirmed) if one.release.startswith(wanted)]
    others = [one for one in _on_all(healthy) if one.release.startswith(wanted)]
    if len({one.revision for one in (*found, *others)}) == 1:
        return found[0].model_copy(update={"confirmed": True}) if found else others[0]
    there = ", ".join(sorted({one.revision[:12] for one in _on_all(healthy)})) or "none"
    what = "more than one" if others else "no"
    raise BlueGreenError(
        f"{what} release on all droplets of {color} begins with {wanted}; there are: {there}. "
        "Deploy it instead, or name one of these"
    )


def last_live(wanted: str, records: Iterable[Record]) -> Record | None:
    """Return the last run that ended with the one revision that begins like this; ``None`` if none did.

    :param records: of the ledger, the oldest first.
    """
    found = [
        one
        for one in records
        if one.outcome == Outcome.LIVE
        and one.release
        and one.configuration
        and one.release.startswith(wanted)
    ]
    return found[-1] if len({one.revision for one in found}) == 1 else None


def running_release(started: Mapping[str, str | None], healthy: Healthy, color: Color) -> PreviousRelease:
    """Return what all droplets of a color run.

    :param started: by droplet, the pairing that its service was started with, if that is certain.
    :raises BlueGreenError: if they do not run the same, or it never was healthy there.
    """
    running = {
        name: [one for one in known if one.pairing == started.get(name)] for name, known in healthy.items()
    }
    if not (found := _on_all(running)):
        raise BlueGreenError(
            f"nothing is known to have been confirmed on {color}, and its droplets do not all run one "
            "release with one configuration; name a release in `revision`, or deploy one"
        )
    return found[0]


def later_run_on(color: Color, records: Iterable[Record]) -> Record | None:
    """Return the last run that may have started something on a color since it was confirmed there last.

    A run that ended without a report may have done so.

    :param records: of the ledger, the oldest first.
    """
    found = None
    for record in records:
        if record.to is color and record.outcome == Outcome.LIVE:
            found = None
        elif record.found_by or (record.to is color and any(map(_STARTS.match, record.phases))):
            found = record
    return found


def pairing_on(previous: PreviousRelease, name: str, healthy: Healthy) -> HealthyPairing:
    """Return what is to be started on a droplet, as it was healthy there.

    :raises BlueGreenError: if the droplet does not have it any more.
    """
    for one in healthy[name]:
        if one.pairing == previous.pairings[name]:
            return one
    raise BlueGreenError(
        f"{name} does not have {previous.revision[:12]} any more with the configuration "
        f"{previous.configuration[:12]} and the unit that were confirmed; deploy it instead"
    )


def _on_all(healthy: Healthy) -> list[PreviousRelease]:
    """Return what every droplet has, as it was healthy last on each, in the order of the first droplet."""
    found: list[PreviousRelease] = []
    for first in next(iter(healthy.values())):
        key = first.release, first.configuration
        pairings = {
            name: next((one.pairing for one in known if (one.release, one.configuration) == key), None)
            for name, known in healthy.items()
        }
        whole = {name: pairing for name, pairing in pairings.items() if pairing is not None}
        if len(whole) == len(healthy) and key not in {(one.release, one.configuration) for one in found}:
            found.append(PreviousRelease(release=key[0], configuration=key[1], pairings=whole))
    return found
