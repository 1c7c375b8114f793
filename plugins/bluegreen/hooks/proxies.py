"""Every proxy of an app, addressed as one."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from agent.protocol import Code, Verb
from agent.proxy.certificates import HOST_NAME, MOST_NAMES
from agent.release_name import DIGEST
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.irreversible_switch import switch_for_good
from bluegreen.hooks.proxy import ProxyHook
from bluegreen.hooks.two_phase import TwoPhase, combined, on_all
from bluegreen.run.plan import HeldLock
from bluegreen.traffic.agent_answers import DeliveredCertificates, ProxyStatus, RevertResult, SwitchResult
from bluegreen.traffic.live import is_decided, next_token, require_supported

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Droplet
    from bluegreen.settings.app import App
    from bluegreen.traffic.certificates import KeyedCertificate


class ProxiesHook(BaseHook):
    """Every proxy of an app: a change is made on all of them or on none.

    :param app: the app.
    :param droplets: its proxies.
    :param tokens: lock tokens by droplet name; every method that changes something needs them.
    """

    def __init__(self, app: App, droplets: Iterable[Droplet], tokens: dict[str, int] | None = None) -> None:
        super().__init__()
        self.members = [ProxyHook.of(droplet, app) for droplet in droplets]
        self.app = app
        self.tokens = tokens or {}
        self._renewed = time.monotonic()

    @classmethod
    def holding(cls, app: App, lock: HeldLock) -> ProxiesHook:
        """Return the proxies on which a lock was taken."""
        return cls(app, lock.proxies, lock.tokens)

    def close(self) -> None:
        """Close every open connection."""
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
        """Take the lock on all proxies, in the order of their names, so that two runs cannot each hold one.

        All proxies give the same token.

        :param owner: who triggered the run.
        :param run_id: the run.
        :param ref: what the run is for.
        :param has_ended: whether the run with another run's id has ended; its lock is taken over then.
        :param lease: seconds that the lock lasts without being renewed; default: ``timeouts.lease``.
        :param record_at_start: the run's record so far, so that a later run can complete it.
        :param last_token: returns the greatest token that droplets know; called only if no proxy knows any.
        :return: tokens by droplet name.
        :raises ProxyError: with code ``locked``, naming the holder, or ``unsupported`` if a HAProxy is
            too old; nothing stays locked then.
        """
        statuses = self.statuses()
        require_supported(statuses)
        self.install_agents(statuses)
        at_least = next_token(run_id, statuses.values())
        if at_least is None:
            at_least = (last_token() if last_token and self.members else 0) + 1
        request: dict[str, Any] = {"owner": owner, "run_id": run_id, "ref": ref, "begun": record_at_start}
        request["lease"] = lease or self.app.timeouts.lease
        # If a later proxy refuses, unlock() gives back the locks that were taken before.
        self.tokens = {}
        try:
            self._lock_each(request, statuses, at_least, has_ended)
        except BlueGreenError:
            try:
                self.unlock()
            except BlueGreenError as error:
                # The next run takes the lock over; the first error matters more.
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
        # A token is too small only where another run took and returned the lock after the statuses were read.
        for member in self.members:
            if self.tokens[member.name] < at_least:
                answer = member.call(Verb.LOCK, **request, at_least=at_least)
                self.tokens[member.name] = answer["token"]

    def install_agents(self, statuses: dict[str, ProxyStatus]) -> None:
        """Install this project's version of the agent on each proxy whose file differs, by its own status."""
        same = {name for name, one in statuses.items() if one.agent and one.agent.difference is None}
        others = [member for member in self.members if member.name not in same]
        on_all(others, lambda member: member.install_agent())

    def record(self, line: dict[str, Any]) -> dict[str, str]:
        """Append a run's record to the ledger of each proxy; a record that is there already is left alone.

        :return: by droplet name, the SHA-256 of the ledger's last line afterwards, in hexadecimal.
        :raises BlueGreenError: if one proxy could not write it; the others have.
        """
        answers = on_all(self.members, lambda member: member.call(Verb.RECORD, record=line))
        # A report must not fail because of what a proxy answers that somebody else is root on.
        heads = {name: str(answer.get("head")) for name, answer in answers.items()}
        return {name: head for name, head in heads.items() if re.fullmatch(DIGEST, head)}

    def unlock(self) -> None:
        """Return the lock where it is still held; proxies without it are left alone.

        :raises BlueGreenError: if one proxy could not be reached; the others were.
        """
        held = [member for member in self.members if member.name in self.tokens]
        on_all(held, lambda member: member.call(Verb.UNLOCK, token=self.tokens[member.name]))

    def renew(self, lease: float | None = None) -> None:
        """Check that the lock is still this run's, and hold it for another lease.

        :param lease: seconds until it ends unless it is renewed again; default: as before.
        :raises ProxyError: with code ``lock_lost`` if another run has it; then nothing may be changed.
        """
        self._each(Verb.RENEW, **({} if lease is None else {"lease": lease}))

    def note_contract(self) -> None:
        """Renew the lock, and write down on every proxy that this run is about to run a contract.

        :raises BlueGreenError: if one could not write it: then nothing may be run.
        """
        self._each(Verb.RENEW, contracts=True)

    def make_known(self, token: int) -> None:
        """Make the next run's token greater than a token that a droplet knows.

        :raises ProxyError: with code ``lock_lost`` if another run holds the lock by now; the droplet's token
            may be that run's.
        """
        self._each(Verb.RENEW, known_token=token)

    def require_idle(self, color: Color) -> None:
        """Renew the lock, and require that a color's droplets may be changed.

        From now on no proxy reverts a dead run's switch to this color.

        :raises ProxyError: with code ``not_idle`` if the color has traffic, or this run may still revert to
            it; with code ``lock_lost`` as :meth:`renew` does.
        """
        self._each(Verb.RENEW, touches=color)

    def renew_in_time(self) -> None:
        """Renew the lock if a quarter of the lease has passed; for long loops."""
        if time.monotonic() - self._renewed > self.app.timeouts.lease / 4:
            try:
                self.renew()
            except BlueGreenError as error:
                if not error.transient:
                    raise
                self.log.warning("the lock is renewed later: %s", error)
                return
            self._renewed = time.monotonic()

    def deliver_certificates(
        self,
        certificates: Mapping[str, KeyedCertificate],
        thumbprint: str | None = None,
        *,
        handshakes: bool = True,
    ) -> dict[str, DeliveredCertificates | BlueGreenError]:
        """Put certificates on every proxy, and let the HAProxys that know them serve them.

        :param certificates: by name.
        :param thumbprint: of the account with a certificate authority, whose challenges HAProxy may answer.
        :param handshakes: whether to see what clients get for each name.
        :return: what became of them by the proxies' names, or why a proxy did not take them all.
        """
        request = [
            # A bought certificate may be for more names, or for one that no client can ask for.
            {
                "name": name,
                "pem": one.pem,
                "host_names": [host for host in one.names if handshakes and re.fullmatch(HOST_NAME, host)][
                    :MOST_NAMES
                ],
            }
            for name, one in certificates.items()
        ]

        def deliver(member: ProxyHook) -> DeliveredCertificates | BlueGreenError:
            try:
                answer = member.call(
                    Verb.DELIVER_CERTIFICATES,
                    token=self.tokens[member.name],
                    certificates=request,
                    thumbprint=thumbprint,
                )
                return DeliveredCertificates.parse(answer)
            except BlueGreenError as error:
                return error

        return on_all(self.members, deliver)

    def sync(self, config: str, live: Color | None, idle: Color) -> list[str]:
        """Install the configuration on every proxy, or, if one of them refuses it, on none.

        :param config: text of ``haproxy.cfg``.
        :param live: where a new proxy sends traffic; the others keep their color.
        :param idle: the other color.
        :return: the names of the proxies where something changed.
        """
        request: dict[str, Any] = {"config": config, "initial": {"live": live, "idle": idle}}
        request["peers"] = [member.peer_address for member in self.members]
        if len(self.members) > 1:
            self._each(Verb.SYNC, prepare_only=True, **request)
        answers = self._each(Verb.SYNC, **request)
        return [name for name, answer in answers.items() if answer["changed"]]

    def switch(self, *, irreversible: str | None = None, **request: Any) -> dict[str, SwitchResult]:
        """Move traffic: prepare on all proxies, then switch all of them; if one fails, all revert.

        :param irreversible: why there is no way back from the release, if there is none: then the switch is
            kept at once, and where it fails it is tried again while others have moved.
        :return: results by droplet name.
        """
        if len(self.members) > 1:
            # A single proxy needs no preparation: it makes the same checks before it moves traffic.
            self._each(Verb.SWITCH, prepare_only=True, **request)
        if irreversible:
            answers = switch_for_good(self.members, self.tokens, {**request, "irreversible": irreversible})
        elif len(self.members) > 1:
            request["peers"] = [member.peer_address for member in self.members]
            answers = TwoPhase(self.members, self.tokens, request).run()
        else:
            answers = self._each(Verb.SWITCH, **request)
        return {name: SwitchResult.parse(answer) for name, answer in answers.items()}

    def confirm(self, revision: str) -> None:
        """Confirm the switch on all proxies.

        Once all have prepared, a proxy that cannot be reached keeps the switch because its peers do.

        :raises BlueGreenError: if a proxy did not prepare, or none could be reached afterwards.
        """
        if len(self.members) > 1:
            self._each(Verb.CONFIRM, revision=revision, prepare_only=True)
        failed = self._failures(Verb.CONFIRM, revision=revision)
        if len(failed) == len(self.members):
            raise combined(failed)
        for error in failed:
            self.log.warning("%s; it keeps the switch by itself, because the others do", error)

    def align(self, to: Color) -> list[str]:
        """Make all proxies send traffic to one color, and return the names of those that did not before.

        :param to: the color; each proxy needs at least one healthy server of it.
        """
        path = self.app.health.path
        answers = self._each(Verb.ALIGN, to=to, path=path, **self.app.asked_like(path))
        return [name for name, answer in answers.items() if answer["moved"]]

    def revert(self) -> dict[str, RevertResult]:
        """Revert an unconfirmed switch on all proxies; proxies without one are left alone.

        :raises ProxyError: with code ``unhealthy`` if a proxy sees no healthy server to go back to: then
            traffic stays where it is, and the proxies' timers try again.
        :raises BlueGreenError: if a proxy failed to revert; the others have reverted.
        """
        if len(self.members) > 1:
            errors = self._failures(Verb.REVERT, prepare_only=True)
            # A proxy that cannot be reached must not keep the others from reverting.
            if refused := [error for error in errors if getattr(error, "code", "") == Code.UNHEALTHY]:
                raise combined(refused)
        answers = self._each(Verb.REVERT)
        return {name: RevertResult.parse(answer) for name, answer in answers.items()}

    def _failures(self, verb: Verb, **request: Any) -> list[BlueGreenError]:
        """Call a verb on all proxies, and return the errors."""

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
