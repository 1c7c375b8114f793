"""The ledger: the record of every run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bluegreen.color import Color
from bluegreen.release.migrations import Migration
from bluegreen.run.one_off import OneOffCommand
from bluegreen.run.processes import ProcessesMove
from bluegreen.traffic.drain import Drain
from bluegreen.validation.evidence import Evidence

# Of the ledger; an app keeps fewer releases than it has had runs since.
RECORDS_READ = 1000


class Validation(BaseModel):
    """The result of the bake after a switch.

    :param verdict: why the new release was bad; ``None`` if no limit was broken.
    :param seconds: how long it took.
    :param own_requests: by path, figures of the task's own requests to the new color.
    :param all_requests: by proxy, HAProxy's figures of all requests, including those of clients.
    :param rests_on: the evidence of the verdict.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    verdict: str | None = None
    seconds: float | None = None
    own_requests: dict[str, dict[str, float | None]] = {}
    all_requests: dict[str, dict[str, float | None]] = {}
    rests_on: Evidence | None = None


class Record(BaseModel):
    """How one run ended; each proxy keeps a line for each, and Airflow an asset event.

    If a run dies without its report, the next run that takes its lock over completes the record; then
    everything that the dead run found out on its way is missing.

    :param attempt: 0, or how often the run was cleared and ran again.
    :param trigger: ``manual``, ``scheduled``, ``asset_triggered`` …, as Airflow calls it.
    :param triggered_by: the user, or what else triggered it.
    :param subject: what was to be done, for example ``deploy of v2 (0123456789ab)``.
    :param release: the release that was deployed or started: the revision, and which artifact of it.
    :param configuration: the digest of the configuration that it was started with.
    :param emergency: whether the release was judged by absolute limits only.
    :param older: by how much the revision was older than the live one, if it was, and who allowed that.
    :param approved_by: the user who approved the switch, if an approval was demanded.
    :param from_color: the color that was live before; ``None`` if none was, or if the run ended too early.
    :param to: the color that the run deployed to.
    :param phases: seconds that each task took; mapped ones are keyed ``deploy_0``, ``deploy_1`` …
    :param switched_at: when traffic moved.
    :param switch_ms: milliseconds until all proxies answered with the new color.
    :param migration: the commands of a migration that ran to their end, whether they succeeded or not.
    :param command: the one-off command that the run ran.
    :param contracted: whether a command of the phase ``contract`` may have run, if only in part.
    :param processes: what was done last about the app's processes and timers.
    :param irreversible: why there is no way back from the release that traffic went to, if there is none.
    :param requests: the requests that HAProxy sent to the new color from the switch to the end of the run.
    :param failed: how many of them were answered with 5xx.
    :param validation: the result of the bake, if there was one.
    :param live: the live color when the run ended; ``live_known`` distinguishes none from unknown.
    :param live_revision: the revision of the last confirmed switch to that color.
    :param found_by: the run that completed the record of this one.
    :param ledgers: by proxy, the SHA-256 of its ledger's last line before this record, so that other proxies
        and Airflow know it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    dag_id: str
    run_id: str
    attempt: int = 0
    trigger: str
    triggered_by: str
    reason: str | None = None
    subject: str
    ref: str | None = None
    revision: str | None = None
    release: str | None = None
    configuration: str | None = None
    emergency: bool = False
    older: str | None = None
    approved_by: str | None = None
    started: datetime | None
    ended: datetime | None = None
    outcome: str = ""
    message: str = ""
    from_color: Color | None = Field(default=None, alias="from")
    to: Color | None = None
    phases: dict[str, float] = {}
    migration: Migration | None = None
    command: OneOffCommand | None = None
    contracted: bool = False
    processes: ProcessesMove | None = None
    irreversible: str | None = None
    switched_at: datetime | None = None
    switch_ms: float | None = None
    requests: int | None = None
    failed: int | None = None
    validation: Validation | None = None
    drain: Drain | None = None
    live: Color | None = None
    live_known: bool = False
    live_revision: str | None = None
    found_by: str | None = None
    ledgers: dict[str, str] = {}

    def line(self) -> dict[str, Any]:
        """Return the record as plain data, the form in which it is kept."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True) | {"attempt": self.attempt}

    @property
    def key(self) -> tuple[str, str, int]:
        """The key that identifies a run and its attempt."""
        return self.dag_id, self.run_id, self.attempt


def read_ledger(lines_by_proxy: Iterable[Iterable[Mapping[str, Any]]]) -> list[Record]:
    """Merge the ledgers of an app's proxies, oldest run first.

    A proxy that was unreachable when a run ended lacks that record, and a new proxy lacks all; the others
    have them. Lines that are not records (of another version) are left out.
    """
    found: dict[tuple[str, str, int], Record] = {}
    for lines in lines_by_proxy:
        for line in lines:
            try:
                record = Record.model_validate(line)
            except ValidationError:
                continue
            known = found.get(record.key)
            # If a proxy only presumed the run dead, the run's own record is better.
            if known is None or (known.found_by and not record.found_by):
                found[record.key], other = record, known
            else:
                other = record
            if other:
                found[record.key] = _with_what_ends_the_way_back(found[record.key], other)
    epoch = datetime.fromtimestamp(0, UTC)
    return sorted(found.values(), key=lambda record: record.ended or epoch)


def _with_what_ends_the_way_back(record: Record, other: Record) -> Record:
    """Return a record with what another proxy's has: a dead run's switch may be kept on one alone."""
    return record.model_copy(
        update={
            "irreversible": record.irreversible or other.irreversible,
            "contracted": record.contracted or other.contracted,
        }
    )
