"""A run's plan: the facts that it establishes before it changes anything, and passes from task to task."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from bluegreen.color import Color
from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.traffic.agent_answers import Counters, GoodRelease


class HeldLock(BaseModel):
    """The run's lock on every proxy of the app.

    :param proxies: the droplets that were locked.
    :param tokens: each one's fencing token by droplet name; every mutating request carries it.
    """

    model_config = ConfigDict(frozen=True)

    proxies: tuple[Droplet, ...]
    tokens: dict[str, int]

    @property
    def fencing_token(self) -> int:
        """The run's token on droplets; greater than that of any run that held the lock before."""
        return max(self.tokens.values())


class Plan(BaseModel):
    """The live color at the start of a run, and the droplets that the run is going to change.

    :param live: the color that has the traffic, or ``None`` before the first deploy.
    :param idle: the color that the run deploys to.
    :param warnings: findings that do not stop a deploy, but are worth reading.
    :param counters: HAProxy's counters of the live color by proxy: the beginning of "before the switch".
    :param good: what was confirmed last on the idle color, if known: the target of a rollback, which stays on
        the droplets until something else is confirmed there.
    :param older: by how much the revision is older than the live one, in words, if it is.
    :param irreversible: why there is no way back from the release that a deploy is going to make live, or
        that a rollback is going to leave; ``None`` if there is one.
    :param perl_key: perl, architecture and C library of the builder, the first idle droplet.
    :param in_use: releases that droplets run, or that were confirmed last; the artifact store keeps theirs.
    :param rendered: whether every proxy runs already what ``render_and_reload`` would install.
    :param drained: whether nothing was in progress on the idle color.
    """

    model_config = ConfigDict(frozen=True)

    live: Color | None
    idle: Color
    fleet: Fleet
    warnings: tuple[str, ...] = ()
    counters: dict[str, Counters] = {}
    good: GoodRelease | None = None
    older: str | None = None
    irreversible: str | None = None
    perl_key: str = ""
    in_use: tuple[str, ...] = ()
    rendered: bool = False
    drained: bool = False

    @property
    def idle_droplets(self) -> tuple[Droplet, ...]:
        """The droplets that the run deploys to."""
        return self.fleet.color(self.idle)

    def idle_droplet(self, ip: str) -> Droplet:
        """Return the idle droplet with a public address.

        :raises FleetError: if no idle droplet has it; a deploy never writes anywhere else.
        """
        for droplet in self.idle_droplets:
            if str(droplet.public) == ip:
                return droplet
        raise FleetError(f"{ip} is not an idle ({self.idle}) droplet of this run; nothing was changed there")
