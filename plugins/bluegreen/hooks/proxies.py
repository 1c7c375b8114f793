"""All proxies of an app, as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from agent.protocol import Code, Verb
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import TwoPhase, combined, on_all
from bluegreen.run.plan import HeldLock
from bluegreen.traffic.agent_answers import ProxyStatus, RevertResult, SwitchResult
from bluegreen.traffic.live import is_decided, next_token, require_supported

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.settings.app import App


class ProxiesHook(BaseHook):
    """Every proxy of an app; what is done to one is done to all or to none.

    :param app: the app.
    :param droplets: its proxies.
    :param tokens: lock tokens by droplet name; needed by everything that changes something.
    """

    def __init__(self, app: App, droplets: Iterable[Droplet], tokens: dict[str, int] | None = None) -> None:
        super().__init__()
        self.members = [ProxyHook.of(droplet, app) for droplet in droplets]
        self.app = app
        self.tokens = tokens or {}
        self._renewed = time.monotonic()

    @classmethod
    def holding(cls, app: App, lock: HeldLock) -> ProxiesHook:
        """Return the proxies that a lock was taken on."""
        return cls(app, lock.proxies, lock.tokens)

    def close(self) -> None:
        """Close every connection that is open."""
        for member in self.members:
            member.close()

    def statuses(self) -> dict[str, ProxyStatus]:
        """Read the status of each proxy, by droplet name."""
        return on_all(self.members, lambda member: member.status())

    def lock(
        self,
        owner: str,
        run_id: str,
        ref: str,
        has_ended: Callable[[str], bool],
        lease: float | None = None,
        record_at_start: dict[str, Any] | None = None,
        last_token: Callable[[], int] | None = None,
    ) -> dict[str, int]:
        """Take the lock on all, in the order of their names, so that two runs cannot each hold one.

        All give the same token: see the agent's ``LockStore``.

        :param owner: who triggered the run.
        :param run_id: the run.
        :param ref: what the run is for.
        :param has_ended: tells of another run's id whether that run has ended; its lock is taken over then.
        :param lease: seconds that it lasts without being renewed; default: the app's.
        :param record_at_start: the beginning of the run's record, for whoever has to complete it.
        :param last_token: asked only if no proxy knows any token: the greatest that others know.
        :return: tokens by droplet name.
        :raises ProxyError: with code ``locked``, naming the holder, or ``unsupported`` if a HAProxy is
            too old; nothing stays locked then.
        """
        statuses = self.statuses()
        require_supported(statuses)
        self.install_agents()
        at_least = next_token(run_id, statuses.values())
        if at_least is None:
            at_least = (last_token() if last_token and self.members else 0) + 1
        request: dict[str, Any] = {"owner": owner, "run_id": run_id, "ref": ref, "begun": record_at_start}
        request["lease"] = lease or self.app.timeouts.lease
        # unlock() gives back what this has taken, also if it fails halfway.
        self.tokens = {}
        try:
            self._lock_each(request, statuses, at_least, has_ended)
        except BlueGreenError:
            try:
                self.unlock()
            except BlueGreenError as error:
                # The next run takes it over; why this one failed matters more.
                self.log.warning("%s", error)
            raise
        return self.tokens

    def _lock_each(
        self,
        request: dict[str, Any],
        statuses: dict[str, ProxyStatus],
        at_least: int,
        has_ended: Callable[[str], bool],
    ) -> None:
        for member in sorted(self.members, key=lambda one: one.name):
            over: dict[str, Any] = {}
            holder = statuses[member.name].lock
            if holder is not None and holder.run_id != request["run_id"] and has_ended(holder.run_id):
                self.log.warning(
                    "%s: taking over the lock that %s (%s) left behind",
                    member.name,
                    holder.run_id,
                    holder.owner,
                )
                over = {"over": holder.token}
            answer = member.call(Verb.LOCK, **request, keep=is_decided(statuses), at_least=at_least, **over)
            if answer.get("took_over") and not over:
                self.log.warning("%s: the lease had run out of %s", member.name, answer["took_over"])
            self.tokens[member.name] = at_least = max(at_least, answer["token"])
        # Only where another run's lock was taken and given back since they were asked.
        for member in self.members:
            if self.tokens[member.name] < at_least:
                answer = member.call(Verb.LOCK, **request, at_least=at_least)
                self.tokens[member.name] = answer["token"]

    def install_agents(self) -> None:
        """Put this project's version of the agent on each, where it is not there yet."""
        on_all(self.members, lambda member: member.install_agent())

    def record(self, line: dict[str, Any]) -> None:
        """Add how a run ended to the ledger of each; harmless if it is there already.

        :raises BlueGreenError: if one could not do so; the others did.
        """
        on_all(self.members, lambda member: member.call(Verb.RECORD, record=line))

    def unlock(self) -> None:
        """Give the lock back where it is still held; harmless where it is not.

        :raises BlueGreenError: if one could not be asked; the others were.
        """
        held = [member for member in self.members if member.name in self.tokens]
        on_all(held, lambda member: member.call(Verb.UNLOCK, token=self.tokens[member.name]))

    def renew(self, lease: float | None = None) -> None:
        """Check that the lock is still this run's, and keep it for another lease.

        :param lease: seconds that it lasts from now on without being renewed; default: as long as before.
        :raises ProxyError: with code ``lock_lost`` if it is not; nothing is to be changed then.
        """
        self._each(Verb.RENEW, **({} if lease is None else {"lease": lease}))

    def make_known(self, token: int) -> None:
        """Let the next run's token be greater than one that a droplet knows.

        :raises ProxyError: with code ``lock_lost`` if another run holds the lock by now, whose token
            that may be.
        """
        self._each(Verb.RENEW, known_token=token)

    def require_idle(self, color: Color) -> None:
        """Renew the lock, and make sure that a color's droplets may be changed.

        A switch of a dead run that could not be taken back to that color never will be from now on.

        :raises ProxyError: with code ``not_idle`` if it has traffic, or this run may yet send traffic
            back to it; with code ``lock_lost`` as :meth:`renew` does.
        """
        self._each(Verb.RENEW, touches=color)

    def renew_in_time(self) -> None:
        """Renew the lock if it has not been for a quarter of the lease; for loops that take long."""
        if time.monotonic() - self._renewed > self.app.timeouts.lease / 4:
            try:
                self.renew()
            except BlueGreenError as error:
                if not error.transient:
                    raise
                self.log.warning("the lock is renewed later: %s", error)
                return
            self._renewed = time.monotonic()

    def sync(self, config: str, live: Color | None, idle: Color) -> list[str]:
        """Install the configuration everywhere, or, if one refuses it, nowhere.

        :return: the names of those where something changed.
        :param config: text of ``haproxy.cfg``.
        :param live: where a proxy that is new sends traffic; others keep what they have.
        :param idle: the other color.
        """
        request: dict[str, Any] = {"config": config, "initial": {"live": live, "idle": idle}}
        request["peers"] = [member.peer_address for member in self.members]
        if len(self.members) > 1:
            self._each(Verb.SYNC, prepare_only=True, **request)
        answers = self._each(Verb.SYNC, **request)
        return [name for name, answer in answers.items() if answer["changed"]]

    def switch(self, **request: Any) -> dict[str, SwitchResult]:
        """Move traffic: prepare on all, then commit on all; if one fails to commit, all go back.

        :return: each one's result by droplet name.
        """
        if len(self.members) > 1:
            # A single one checks the same things again before it moves anything.
            self._each(Verb.SWITCH, prepare_only=True, **request)
            request["peers"] = [member.peer_address for member in self.members]
            answers = TwoPhase(self.members, self.tokens, request).run()
        else:
            answers = self._each(Verb.SWITCH, **request)
        return {name: SwitchResult.parse(answer) for name, answer in answers.items()}

    def confirm(self, revision: str) -> None:
        """Keep the switch on all: once all have agreed, those that cannot be told keep it by themselves.

        :raises BlueGreenError: if one did not agree, or none could be told.
        """
        if len(self.members) > 1:
            self._each(Verb.CONFIRM, revision=revision, prepare_only=True)
        failed = self._failures(Verb.CONFIRM, revision=revision)
        if len(failed) == len(self.members):
            raise combined(failed)
        for error in failed:
            self.log.warning("%s; it keeps the switch by itself, because the others do", error)

    def align(self, to: Color) -> list[str]:
        """Let all send traffic to one color, and return the names of those that did not.

        :param to: the color; at least one of its servers has to be healthy.
        """
        path = self.app.health.path
        answers = self._each(Verb.ALIGN, to=to, path=path, **self.app.asked_like(path))
        return [name for name, answer in answers.items() if answer["moved"]]

    def revert(self) -> dict[str, RevertResult]:
        """Take an unconfirmed switch back on all; harmless where there is none.

        :raises ProxyError: with code ``unhealthy`` if one sees no healthy server to go back to: then
            all stay where they are, and their timers try again.
        :raises BlueGreenError: if one did not do so; the others did, whatever became of that one.
        """
        if len(self.members) > 1:
            errors = self._failures(Verb.REVERT, prepare_only=True)
            # One that cannot be reached keeps no other from going back.
            if refused := [error for error in errors if getattr(error, "code", "") == Code.UNHEALTHY]:
                raise combined(refused)
        answers = self._each(Verb.REVERT)
        return {name: RevertResult.parse(answer) for name, answer in answers.items()}

    def _failures(self, verb: Verb, **request: Any) -> list[BlueGreenError]:
        """Do something on all, and return what came in between."""

        def attempt(member: ProxyHook) -> BlueGreenError | None:
            try:
                member.call(verb, token=self.tokens[member.name], **request)
            except BlueGreenError as error:
                return error
            return None

        return [error for error in on_all(self.members, attempt).values() if error is not None]

    def _each(self, verb: Verb, **request: Any) -> dict[str, dict[str, Any]]:
        return on_all(
            self.members, lambda member: member.call(verb, token=self.tokens[member.name], **request)
        )
