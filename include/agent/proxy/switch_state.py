"""What a proxy remembers of switches: ``traffic.json``."""

from __future__ import annotations

import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, cast

from agent.proxy.messages import ConfirmedRecord, PendingRecord, RevertRecord, SwitchRecords
from agent.system import boot_id, read_json, since_boot, write_json


class SwitchState:
    """The switch that is pending, the last one that was kept, and the last one that was taken back.

    ``pending`` is described by :mod:`agent.proxy.pending_switch`. ``good`` is, for each color, what was
    confirmed there last: a rollback starts exactly that. ``moved_at`` is when traffic last moved, ``reached``
    are the addresses of the proxies that deploys have reached.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> SwitchRecords:
        """Return everything; a key that no call has written is there, too."""
        empty: SwitchRecords = {
            "pending": None,
            "confirmed": None,
            "last_revert": None,
            "good": {},
            "moved_at": None,
            "reached": None,
        }
        state = {**empty, **read_json(self.path)}
        # A version from before kept revisions alone, and nothing can be started again by these.
        state["good"] = {color: one for color, one in state["good"].items() if isinstance(one, dict)}
        return cast(SwitchRecords, state)

    @property
    def pending(self) -> PendingRecord | None:
        """The switch that waits to be confirmed."""
        return self.read()["pending"]

    def remember(self, **changes: Any) -> None:
        """Replace some keys."""
        write_json(self.path, {**self.read(), **changes})

    def know_reached(self, addresses: list[str]) -> None:
        """Remember which proxies deploys have reached: one that is silent may serve clients."""
        known = self.read()["reached"]
        reached = sorted({*(known or []), *(str(IPv4Address(one)) for one in addresses)})
        if addresses and reached != known:
            self.remember(reached=reached)

    def keep(self, pending: PendingRecord) -> None:
        """A pending switch becomes the confirmed one."""
        confirmed: ConfirmedRecord = {
            "revision": pending["revision"],
            "color": pending["to"],
            "run_id": pending["run_id"],
            "token": pending.get("token"),
            "at": time.time(),
        }
        if why := pending.get("irreversible"):
            confirmed |= {"irreversible": why, "judged": False}
        good = {color: one for color, one in self.read()["good"].items() if color != pending["to"]}
        # A version from before has armed the switch without.
        if "started" in pending:
            good[pending["to"]] = {"revision": pending["revision"], **pending["started"]}
        # All at once: whatever dies now, what was confirmed is known by more than its revision.
        self.remember(pending=None, confirmed=confirmed, good=good)

    def judged(self) -> None:
        """The run of the confirmed switch has found its release good, if that was open."""
        confirmed = self.read()["confirmed"]
        if confirmed and not confirmed.get("judged", True):
            self.remember(confirmed={**confirmed, "judged": True})

    def taken_back(self, pending: PendingRecord, reason: str) -> None:
        """A pending switch becomes the last one that was taken back."""
        self.remember(pending=None, last_revert=self._revert_of(pending, reason))

    def not_taken_back(self, pending: PendingRecord, reason: str) -> None:
        """The switch stays pending; the next run finds out from the record."""
        self.remember(last_revert={**self._revert_of(pending, reason), "refused": True})

    @staticmethod
    def _revert_of(pending: PendingRecord, reason: str) -> RevertRecord:
        return {
            "from": pending["to"],
            "to": pending["from"],
            "run_id": pending["run_id"],
            "token": pending.get("token"),
            "at": time.time(),
            "reason": reason,
        }


def time_left(pending: PendingRecord) -> float:
    """Seconds until a switch is to be taken back; less than none if they are over.

    After a restart only the settable clock knows. If it was set meanwhile, there is no more time left than
    the switch ever had.
    """
    if pending.get("boot") == boot_id():
        return float(pending["end"] - since_boot())
    return float(min(pending["deadline"] - time.time(), pending.get("within", 0)))
