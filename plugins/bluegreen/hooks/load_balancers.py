"""All load balancers of an app, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.load_balancer import LoadBalancerHook
from bluegreen.plan import HeldLock
from bluegreen.traffic import LoadBalancerStatus, RevertResult, SwitchResult

if TYPE_CHECKING:
    from bluegreen.app import App
    from bluegreen.fleet import Droplet


class LoadBalancersHook(BaseHook):
    """Every load balancer of an app; what is done to one is done to all or to none.

    :param app: the app.
    :param droplets: its load balancers.
    :param tokens: lock tokens by droplet name; needed by everything that changes something.
    """

    def __init__(self, app: App, droplets: Iterable[Droplet], tokens: dict[str, int] | None = None) -> None:
        super().__init__()
        self.members = [LoadBalancerHook.of(droplet, app) for droplet in droplets]
        self.tokens = tokens or {}

    @classmethod
    def holding(cls, app: App, lock: HeldLock) -> LoadBalancersHook:
        """Return the load balancers that a lock was taken on."""
        return cls(app, lock.load_balancers, lock.tokens)

    def close(self) -> None:
        """Close every connection that is open."""
        for member in self.members:
            member.close()

    def statuses(self) -> dict[str, LoadBalancerStatus]:
        """Read the status of each load balancer, by droplet name."""
        return {member.name: member.status() for member in self.members}

    def lock(self, owner: str, run_id: str, ref: str, is_over: Callable[[str], bool]) -> dict[str, int]:
        """Take the lock on all, in the order of their names, so that two runs cannot each hold one.

        :param owner: who triggered the run.
        :param run_id: the run.
        :param ref: what the run is for.
        :param is_over: tells of another run's id whether that run has ended; its lock is taken over then.
        :return: tokens by droplet name.
        :raises LoadBalancerError: with code ``locked``, naming the holder; nothing stays locked then.
        """
        taken: dict[str, int] = {}
        try:
            for member in sorted(self.members, key=lambda one: one.name):
                member.install_agent()
                request: dict[str, Any] = {"owner": owner, "run_id": run_id, "ref": ref}
                holder = member.status().lock
                if holder is not None and holder.run_id != run_id and is_over(holder.run_id):
                    self.log.warning(
                        "%s: taking over the lock that %s (%s) left behind",
                        member.name,
                        holder.run_id,
                        holder.owner,
                    )
                    request["over"] = holder.token
                taken[member.name] = member.call("lock", **request)["token"]
        except BlueGreenError:
            self.tokens = taken
            try:
                self.unlock()
            except BlueGreenError as error:
                # The next run takes it over; why this one failed matters more.
                self.log.warning("%s", error)
            raise
        self.tokens = taken
        return taken

    def unlock(self) -> None:
        """Give the lock back where it is still held; harmless where it is not.

        :raises BlueGreenError: if one could not be asked; the others were.
        """
        self._all("unlock", [member for member in self.members if member.name in self.tokens])

    def require_lock(self) -> None:
        """Check that the lock is still this run's; changes nothing.

        :raises BlueGreenError: if it is not.
        """
        for member in self.members:
            lock = member.status().lock
            if lock is None or lock.token != self.tokens.get(member.name):
                holder = f"{lock.owner} ({lock.run_id})" if lock else "nobody"
                raise BlueGreenError(
                    f"this run no longer holds the lock on {member.name} (held by {holder}), so it changes "
                    "nothing; trigger a new run"
                )

    def sync(self, config: str, idle: Color) -> list[str]:
        """Install the configuration everywhere; return the names of those where it changed."""
        answers = self._each("sync", config=config, initial={"live": None, "idle": idle})
        return [name for name, answer in answers.items() if answer["changed"]]

    def switch(self, **request: Any) -> dict[str, SwitchResult]:
        """Move traffic: prepare on all, then commit on all; if one fails to commit, all go back.

        :return: each one's result by droplet name.
        """
        if len(self.members) > 1:
            # A single one checks the same things again before it moves anything.
            self._each("switch", prepare_only=True, **request)
        done: list[LoadBalancerHook] = []
        results = {}
        try:
            for member in self.members:
                answer = member.call("switch", token=self.tokens[member.name], **request)
                results[member.name] = SwitchResult.parse(answer)
                done.append(member)
        except BlueGreenError:
            try:
                self._all("revert", done)
            except BlueGreenError as error:
                # Its timer takes it back; why the switch failed matters more.
                self.log.warning("%s", error)
            raise
        return results

    def confirm(self, revision: str) -> None:
        """Keep the switch on all."""
        self._each("confirm", revision=revision)

    def revert(self) -> dict[str, RevertResult]:
        """Take an unconfirmed switch back on all; harmless where there is none.

        :raises BlueGreenError: if one did not do so; the others did, whatever became of that one.
        """
        answers = self._all("revert", self.members)
        return {name: RevertResult.parse(answer) for name, answer in answers.items()}

    def _each(self, verb: str, **request: Any) -> dict[str, dict[str, Any]]:
        return {
            member.name: member.call(verb, token=self.tokens[member.name], **request)
            for member in self.members
        }

    def _all(self, verb: str, members: Iterable[LoadBalancerHook]) -> dict[str, dict[str, Any]]:
        """Call a verb on each, also if one of them fails, and raise the first failure at the end."""
        answers = {}
        failures = []
        for member in members:
            try:
                answers[member.name] = member.call(verb, token=self.tokens[member.name])
            except BlueGreenError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return answers
