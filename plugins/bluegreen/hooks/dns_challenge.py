"""Challenges of a certificate authority that are answered by TXT records in DigitalOcean's DNS (dns-01).

What a run is about to make is noted in an Airflow Variable first, so that the next run removes what a killed
one has left. Nothing else in a zone is touched: others may have records of the same name.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRuntimeError

from bluegreen.hooks.digitalocean import DigitalOceanError, DigitalOceanHook, described
from bluegreen.polling import Deadline, poll
from bluegreen.settings.app import App
from bluegreen.traffic.dns_challenge import (
    ChallengeRecord,
    DnsChallengeError,
    challenge_records,
    require_answers,
)

# Seconds until all name servers have a record; DigitalOcean's take some seconds. The shortest time to live
# that it allows.
ANSWERED_SECONDS, POLL_SECONDS = 120.0, 2.0
TIME_TO_LIVE = 30


class DnsChallengeHook(DigitalOceanHook):
    """TXT records of challenges in the domains of one DigitalOcean account.

    :param app: whose certificates these are.
    :param keep_alive: called while name servers are waited for.
    """

    def __init__(self, app: App, keep_alive: Callable[[], None]) -> None:
        super().__init__(app.connections.digitalocean)
        self.app, self.keep_alive = app, keep_alive

    @contextmanager
    def published(self, wanted: Iterable[tuple[str, str]]) -> Iterator[None]:
        """Let the zones' name servers answer some records, as long as the block runs.

        :param wanted: the full name and the value of each.
        :raises DnsChallengeError: if a name is in no domain of the account, or the records are not answered.
        :raises DigitalOceanError: if the API refuses.
        """
        left = self._sweep()
        with self._needing_scopes():
            records = challenge_records(wanted, self._zones())
        self._note([*left, *records])
        try:
            with self._needing_scopes():
                for record in records:
                    self._create(record)
            self._wait_for(records)
            yield
        finally:
            self._sweep()

    def _zones(self) -> list[str]:
        items = list(self._list("domains", self.client.domains.list))
        with described("domains"):
            return [str(one["name"]).lower() for one in items]

    def _create(self, record: ChallengeRecord) -> None:
        body = {"type": "TXT", "name": record.label, "data": record.value, "ttl": TIME_TO_LIVE}
        self._call(
            f"create the TXT record {record.name}",
            self.client.domains.create_record,
            domain_name=record.zone,
            body=body,
        )

    def _wait_for(self, records: Sequence[ChallengeRecord]) -> None:
        servers = {zone: self._name_servers(zone) for zone in {one.zone for one in records}}

        def answered() -> bool:
            self.keep_alive()
            require_answers(records, servers)
            return True

        poll(
            answered,
            missing="the records are not answered",
            every=POLL_SECONDS,
            deadline=Deadline(),
            seconds=ANSWERED_SECONDS,
            report=lambda error: self.log.info("%s", error),
        )

    def _name_servers(self, zone: str) -> dict[str, str]:
        """Return the addresses of a zone's name servers, which the zone itself names."""
        names = [str(one["data"]).rstrip(".") for one in self._records(zone, type="NS", name=zone)]
        found = {}
        for name in names:
            try:
                found[name] = str(socket.getaddrinfo(name, 53, socket.AF_INET, socket.SOCK_DGRAM)[0][4][0])
            except OSError:
                self.log.warning("name server %s of %s has no address", name, zone)
        if not found:
            raise DnsChallengeError(f"no name server of {zone} has an address that Airflow's machine finds")
        return found

    def _records(self, zone: str, **query: str) -> list[dict[str, Any]]:
        return list(self._list("domain_records", self.client.domains.list_records, domain_name=zone, **query))

    # What a run has made, or was about to make.

    @property
    def _variable(self) -> str:
        return f"bluegreen_acme_challenges__{self.app.id}"

    def _note(self, records: Sequence[ChallengeRecord]) -> None:
        noted = json.dumps([[one.zone, one.name, one.value] for one in records])
        try:
            Variable.set(self._variable, noted, description=f"{self.app.id}: DNS records to be removed")
        except AirflowRuntimeError as error:
            raise DnsChallengeError(
                f"Airflow's Variable {self._variable} cannot be written: {error}"
            ) from None

    def _sweep(self) -> list[ChallengeRecord]:
        """Remove what is noted; return what could not be removed, which stays noted for the next run."""
        left, noted = [], self._noted()
        for record in noted:
            try:
                self._remove(record)
            except DigitalOceanError as error:
                self.log.warning("the TXT record %s is removed by the next run: %s", record.name, error)
                left.append(record)
        try:
            if left:
                self._note(left)
            elif noted:
                Variable.delete(self._variable)
        except (AirflowRuntimeError, DnsChallengeError) as error:
            self.log.warning("Airflow's Variable %s stays: %s", self._variable, error)
        return left

    def _noted(self) -> list[ChallengeRecord]:
        try:
            noted = json.loads(Variable.get(self._variable, default=None) or "[]")
            return [ChallengeRecord(*map(str, one)) for one in noted]
        except (AirflowRuntimeError, ValueError, TypeError) as error:
            self.log.warning("Airflow's Variable %s is not usable: %s", self._variable, error)
            return []

    def _remove(self, record: ChallengeRecord) -> None:
        for one in self._records(record.zone, type="TXT", name=record.name):
            if one.get("data") == record.value:
                self._call(
                    f"delete the TXT record {record.name}",
                    self.client.domains.delete_record,
                    domain_name=record.zone,
                    domain_record_id=one["id"],
                )

    @contextmanager
    def _needing_scopes(self) -> Iterator[None]:
        """Name the scopes that the token lacks, which DigitalOcean's answer does not."""
        try:
            yield
        except DigitalOceanError as error:
            if "(403)" not in str(error):
                raise
            raise DigitalOceanError(
                f"{error}; give the token of connection {self.conn_id!r} the scopes domain:read, create and "
                "delete, or use http-01",
                transient=False,
            ) from None
