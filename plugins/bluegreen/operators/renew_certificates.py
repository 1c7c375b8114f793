"""Certificates: obtained in time, on every proxy, and served there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowTaskTimeout

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError, FleetError, NothingToDoError, SettingsError
from bluegreen.fleet.joining import strangers
from bluegreen.hooks.certificates import CertificateStore, ObtainedCertificate
from bluegreen.hooks.dns_challenge import DnsChallengeHook
from bluegreen.operators.render_and_reload import render
from bluegreen.operators.support import metrics
from bluegreen.operators.support.holding_lock import LockedOperator
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.acme import AcmeError, order
from bluegreen.traffic.live import live_color

if TYPE_CHECKING:
    from bluegreen.fleet.droplets import Fleet
    from bluegreen.hooks.proxies import ProxiesHook
    from bluegreen.operators.support.this_run import ThisRun
    from bluegreen.settings.tls import CertificateSettings
    from bluegreen.traffic.agent_answers import DeliveredCertificates
    from bluegreen.traffic.certificates import KeyedCertificate

    Delivered = Mapping[str, DeliveredCertificates]


# The XCom with the certificates that Airflow has, by name: when each ends, and from when on it is late.
CERTIFICATES_KEY = "certificates"

# Seconds after which no further certificate is ordered: a rollback may be waiting for the lock.
ORDERS_SECONDS = 300


class RenewCertificatesOperator(LockedOperator):
    """Obtain the certificates that are due, deliver all of them, and see that every proxy serves them.

    What fails keeps nothing else from being done, and is reported at the end: until then the old
    certificates serve.
    """

    def act(self, run: ThisRun) -> str:
        """Return what has changed.

        :raises NothingToDoError: if every proxy serves every certificate, and none is due.
        :raises BlueGreenError: with everything that failed, in one line.
        """
        store = CertificateStore.of(self.app)
        if store is None:
            raise SettingsError(f"{self.app_id} has no traffic.tls any more; nothing was changed")
        fleet, locked = self.read_fleet(), self.held_lock.proxies
        if not locked:
            raise FleetError("no proxy can be reached; nothing was changed")
        away = [one.label for one in fleet.proxies if one.id not in {known.id for known in locked}]
        problems = [f"away, and served by the next run: {', '.join(away)}"] if away else []
        with closing(self.proxies()) as hook:
            renewal = _Renewal(store, hook, fleet, due_now=bool(run.params.get("renew")))
            try:
                renewal.run()
            except AirflowTaskTimeout:
                raise BlueGreenError(
                    "the renewal was ended because it took too long; the proxies serve what they have, and "
                    "the next run goes on"
                ) from None
        done, problems = renewal.done, list(dict.fromkeys(renewal.problems + problems))
        metrics.emit(metrics.certificates(self.app_id, renewal.held))
        run.push(CERTIFICATES_KEY, {name: _dates(one) for name, one in renewal.held.items()})
        if problems:
            begin = f"{', '.join(done)}; but " if done else ""
            raise BlueGreenError(f"{begin}{'; '.join(problems)}")
        if not done:
            left = min((one.ends for one in renewal.certificates.values()), default=None)
            until = f", the first until {left:%Y-%m-%d}" if left else ""
            raise NothingToDoError(f"every proxy serves its certificates{until}", Outcome.ALREADY_LIVE)
        return ", ".join(done)


def _dates(one: KeyedCertificate) -> dict[str, str]:
    return {"ends": one.ends.isoformat(), "late_from": one.late_from.isoformat()}


class _Renewal:
    """One renewal of an app's certificates on the proxies that are locked.

    :ivar done: what has changed, for people.
    :ivar problems: what failed, likewise.
    :ivar held: the certificates that Airflow has; ``certificates`` are those that proxies are given.
    """

    def __init__(self, store: CertificateStore, hook: ProxiesHook, fleet: Fleet, *, due_now: bool) -> None:
        self.store, self.hook, self.fleet, self.due_now = store, hook, fleet, due_now
        self.done: list[str] = []
        self.problems: list[str] = []
        self.held: dict[str, KeyedCertificate] = {}
        self.certificates: dict[str, KeyedCertificate] = {}

    def run(self) -> None:
        """Do it all, whatever fails on the way."""
        due = self._due(datetime.now(UTC))
        if due and self._is_asked_everywhere():
            self._obtain_all(due)
        held = self.store.held()
        self.held, self.certificates = held.certificates, held.usable
        self.problems += held.problems.values()
        try:
            delivered = self._deliver()
            if not all(one.loaded for there in delivered.values() for one in there.certificates.values()):
                self._render("served from now on")
                delivered = self._deliver()
            self._compare(delivered)
        except BlueGreenError as error:
            self.problems.append(str(error))

    def _due(self, now: datetime) -> list[CertificateSettings]:
        """Return the certificates that are to be obtained by ACME."""
        due = []
        for one in self.store.tls.ordered:
            try:
                there = self.store.obtained(one)
            except BlueGreenError as error:
                # One that is kept and cannot be read is not replaced behind somebody's back.
                self.problems.append(str(error))
                continue
            if there is None or self.due_now or self._is_outdated(there, one, now):
                due.append(one)
        return due

    def _is_outdated(self, there: ObtainedCertificate, wanted: CertificateSettings, now: datetime) -> bool:
        """Whether a certificate is old, or not the one that the settings describe."""
        certificate, acme = there.certificate, self.store.tls.acme
        return (
            now >= certificate.renewed_from
            or not certificate.covers(wanted.acme or ())
            or (acme is not None and there.directory != acme.directory)
        )

    def _is_asked_everywhere(self) -> bool:
        """Whether every proxy answers the authority's challenges, after a reload if need be.

        The authority limits how often a name may fail, so it is not asked before.
        """
        try:
            self.store.made_account_key()
            if self.store.asks_dns:
                return True
            thumbprint = self.store.thumbprint()
            if self._silent(thumbprint):
                self._render("answers challenges from now on")
            silent = self._silent(thumbprint)
        except BlueGreenError as error:
            self.problems.append(f"no certificate was asked for: {error}")
            return False
        if silent:
            self.problems.append(f"no certificate was asked for: {'; '.join(silent)}")
        return not silent

    def _silent(self, thumbprint: str | None) -> list[str]:
        """Return a line for each proxy that does not answer the authority's challenges."""
        return [
            str(one)
            if isinstance(one, BlueGreenError)
            else f"HAProxy on {name} does not answer challenges on port 80"
            for name, one in self.hook.deliver_certificates({}, thumbprint).items()
            if isinstance(one, BlueGreenError) or not one.answers_challenges
        ]

    def _obtain_all(self, due: list[CertificateSettings]) -> None:
        """Obtain them as long as the lock may be held for that."""
        until = time.monotonic() + ORDERS_SECONDS
        for number, one in enumerate(due):
            if time.monotonic() > until:
                left = ", ".join(str(later.name) for later in due[number:])
                self.problems.append(
                    f"obtained by the next run: {left}; the authority has taken {ORDERS_SECONDS} s already"
                )
                return
            self._obtain(one)

    def _obtain(self, wanted: CertificateSettings) -> None:
        """Obtain one and keep it."""
        settings, names = self.store.tls.acme, wanted.acme or []
        assert settings is not None  # noqa: S101
        try:
            key, keep_alive = self.store.made_account_key(), self.hook.renew_in_time
            publish = None
            if self.store.asks_dns:
                publish = DnsChallengeHook(self.store.app, keep_alive).published
            found = order(settings, key, names, keep_alive, publish)
            if why := found.why_unusable(datetime.now(UTC)):
                raise AcmeError(
                    f"the new certificate for {', '.join(names)} is not used: {why}; look at the clock of "
                    "Airflow's machine"
                )
            self.store.keep(wanted, found)
        except BlueGreenError as error:
            self.problems.append(str(error))
        else:
            self.done.append(f"obtained {names[0]} until {found.ends:%Y-%m-%d}")

    def _deliver(self) -> Delivered:
        answers = self.hook.deliver_certificates(self.certificates)
        self.problems += [str(one) for one in answers.values() if isinstance(one, BlueGreenError)]
        delivered = {name: one for name, one in answers.items() if not isinstance(one, BlueGreenError)}
        for proxy, there in delivered.items():
            changed = [name for name, one in there.certificates.items() if one.changed]
            if changed:
                how = " (with a reload)" if there.reloaded else ""
                self.done.append(f"{proxy} has {', '.join(changed)}{how}")
        return delivered

    def _render(self, what: str) -> None:
        """Let HAProxy's configuration name what is there; the fleet in it stays as it is."""
        statuses = self.hook.statuses()
        live = live_color(statuses)
        idle = live.other if live else next(iter(statuses.values())).idle or Color.BLUE
        # A droplet that no deploy has judged gets no traffic by this.
        fleet = self.fleet.without(strangers(self.fleet, list(statuses.values())))
        for name in render(self.store.app, self.hook, fleet, live=live, idle=idle):
            self.done.append(f"{name} {what}")

    def _compare(self, delivered: Delivered) -> None:
        """Report every name for which a proxy serves another certificate than it was given."""
        for proxy, there in delivered.items():
            for name, one in there.certificates.items():
                if not one.loaded:
                    self.problems.append(f"HAProxy on {proxy} does not serve {name}")
                expected = self.certificates[name].fingerprint
                wrong = [host for host, served in one.served.items() if served != expected]
                if wrong:
                    self.problems.append(
                        f"{proxy} serves {', '.join(wrong)} with another certificate than {name}: another "
                        "one in traffic.tls.certificates is for the same name, or nothing listens on port 443"
                    )
