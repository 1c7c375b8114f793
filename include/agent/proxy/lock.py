"""Which run may change this proxy."""

from __future__ import annotations

import time
from pathlib import Path

from agent.fields import number
from agent.protocol import AgentError, Code, Json
from agent.system import boot_id, deadline_of, read_json, since_boot, since_start, utc, write_json

# Seconds that a lock lasts after its holder's last sign of life, unless the holder wants another time.
LEASE = 120.0


class LockStore:
    """Which run may change this proxy. Tokens only ever grow, so that an old one never fits again.

    Tokens are counted. No clock has a part in that: a clock that was wrong once would be wrong for good. A
    run is given the same token on all proxies of its app, greater than the last token of any of them
    (``at_least``), so that each proxy alone knows what all have given. A proxy that was added, or has lost
    its file, learns the last token from the others. Where no proxy is left that knows it, the droplets do,
    which keep the token of the run that changed them last. A droplet that was not asked then, and knows a
    greater token, refuses the run; that is written down here (``know``), and the next run's token is greater.

    A lease is counted by a clock that cannot be set (``since_boot``); people are shown the settable clock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def holder(self) -> Json | None:
        """The run that has the lock, also after its lease has run out; None if no run has it."""
        return read_json(self.path).get("holder")

    def last_token(self) -> int | None:
        """The greatest token that is known here; None if nothing is."""
        last = read_json(self.path).get("last_token")
        return None if last is None else int(last)

    def take(self, who: Json, lease: float, over: float = 0, at_least: int = 0) -> Json:
        """Give a run the lock, and return it as the holder.

        :param who: ``owner``, ``run_id``, ``ref`` and the beginning of the run's record.
        :param over: token of a holder whose run has ended without giving the lock back.
        :param at_least: the smallest token that is greater than all that are known elsewhere.
        :raises AgentError: with the code ``locked``, naming the holder.
        """
        state = read_json(self.path)
        holder = state.get("holder")
        if holder and self.is_over(holder, over):
            holder = None
        if holder and holder["run_id"] != who["run_id"]:
            raise AgentError(Code.LOCKED, f"locked by {self.describe(holder)}; wait for that run, or end it")
        if holder and self._attempt_of(holder) != self._attempt_of(who):
            # The run was cleared: what its tasks from before may still do, and have done, is not its own.
            holder = None
        if holder and holder.get("begun", {}).get("contracted"):
            who = {**who, "begun": {**who.get("begun", {}), "contracted": True}}
        if not holder:
            token = max((self.last_token() or 0) + 1, at_least)
            holder = {**who, "since": time.time(), "token": token}
        elif holder["token"] < at_least:
            # Another proxy of the same run knows a later token; this token was not used yet.
            holder = {**holder, "token": at_least}
        old = state.get("holder") or {}
        if old.get("begun") not in (None, who.get("begun")):
            # A run is not forgotten before its record is complete, even if this call is killed.
            holder["left"] = [*old.get("left", []), old["begun"]]
        return self._extend({**holder, **who, "lease": lease})

    @staticmethod
    def _attempt_of(who: Json) -> int | None:
        begun: Json = who.get("begun") or {}
        return begun.get("attempt")

    def all_recorded(self) -> None:
        """Forget the runs that had left the lock behind: their records are complete."""
        state = read_json(self.path)
        state["holder"].pop("left", None)
        write_json(self.path, state)

    @staticmethod
    def is_over(holder: Json, over: float = 0) -> bool:
        """Whether another run may have the lock."""
        return bool(holder["token"] == over or LockStore.lease_left(holder) < 0)

    @staticmethod
    def lease_left(holder: Json) -> float:
        """Seconds; a lease that began before the machine was restarted lasts its whole length since then."""
        if holder.get("boot") == boot_id():
            return float(holder["end"] - since_boot())
        return float(holder.get("lease", LEASE) - since_start())

    def _extend(self, holder: Json) -> Json:
        lease = holder.get("lease", LEASE)
        holder = {**holder, **deadline_of(lease), "until": time.time() + lease}
        self._write(holder["token"], holder)
        return holder

    @staticmethod
    def until(holder: Json) -> float:
        """When the lease ends by the clock that people read, which may have been set since it began."""
        until = time.time() + LockStore.lease_left(holder)
        recorded: float = holder.get("until", until)
        return recorded if abs(recorded - until) < 1 else until

    def _write(self, token: int, holder: Json | None) -> None:
        write_json(self.path, {"last_token": max(self.last_token() or 0, token), "holder": holder})

    def release(self, token: int) -> None:
        """Give the lock back; harmless if another run has it by now."""
        holder = self.holder()
        if holder and holder["token"] == token:
            self._write(token, None)

    def note_contract(self, holder: Json) -> None:
        """Write into the beginning of the holder's record that it may run a contract.

        :raises OSError: if that cannot be written: the contract must not begin then.
        """
        begun = {**holder.get("begun", {}), "contracted": True}
        self._write(holder["token"], {**holder, "begun": begun})

    def know(self, token: int) -> None:
        """Give tokens from now on that are greater than one which was found elsewhere."""
        self._write(token, self.holder())

    def require(self, request: Json, lease: float | None = None) -> Json:
        """Renew the lease, and return the holder, if the request's token is its token.

        A lease that has run out is good as long as no other run has taken the lock.

        :param lease: the new length; as long as before if there is none.
        :raises AgentError: with the code ``lock_lost``.
        """
        holder = self.holder()
        if holder is None or holder["token"] != number(request, "token", 0, 1e15):
            now = f"held by {self.describe(holder)}" if holder else "free"
            lost = f"this run no longer holds the lock (it is {now}); nothing was changed"
            raise AgentError(Code.LOCK_LOST, f"{lost}, trigger a new run")
        try:
            return self._extend(holder if lease is None else {**holder, "lease": lease})
        except OSError:
            # On a full disk its holder must still be able to take traffic back.
            return holder

    @staticmethod
    def describe(holder: Json) -> str:
        """Name the holder for people."""
        until = f" until {utc(LockStore.until(holder))}"
        return f"{holder['owner']}, run {holder['run_id']}, since {utc(holder['since'])}{until}"
