"""When a contract may run, and what it means for the way back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from agent.release_name import revision_of
from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import Outcome
from bluegreen.traffic.agent_answers import GoodRelease, ProxyStatus
from bluegreen.traffic.live import good_releases

EPOCH = datetime.fromtimestamp(0, UTC)


class ContractTarget(BaseModel):
    """What a contract runs, and where; the XCom of the task ``contract_check``.

    :param live: the live color.
    :param configuration: its digest.
    :param droplet: of the other color; the commands run there, however often the task is tried.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    live: Color
    revision: str
    release: str
    configuration: str
    droplet: Droplet


def release_to_contract(live: Color, statuses: Mapping[str, ProxyStatus]) -> GoodRelease:
    """Return the release whose commands a contract runs: the live one, which is confirmed everywhere.

    :param statuses: of all proxies, by name.
    :raises BlueGreenError: if a switch is undecided, or the proxies do not agree on it.
    """
    for name, status in sorted(statuses.items()):
        if status.pending is not None:
            raise BlueGreenError(
                f"{name} has a switch to {status.pending.to} that is not confirmed, by "
                f"{status.pending.run_id}; nothing was run"
            )
    found = good_releases(live, statuses.values())
    confirmed = all(
        one.confirmed and one.confirmed.color is live and one.confirmed.judged for one in statuses.values()
    )
    if len(found) != len(statuses) or len({(one.release, one.configuration) for one in found}) != 1:
        raise BlueGreenError(f"the proxies do not agree which release of {live} was confirmed; deploy first")
    if not confirmed:
        raise BlueGreenError(
            f"{live} is live, and that was not confirmed everywhere, or its release is frozen; deploy first"
        )
    return found[0]


def still_needed(live: Color, statuses: Mapping[str, ProxyStatus], keep_warm: int) -> str | None:
    """Return why the release from before may still be needed, and what going back would mean; else ``None``.

    :param keep_warm: seconds after a confirmed switch in which it may be.
    """
    old = next(iter(good_releases(live.other, statuses.values())), None)
    ages = [one.now - one.confirmed.at for one in statuses.values() if one.confirmed and one.confirmed.at]
    if old is None or not ages or min(ages) >= keep_warm:
        return None
    since = max(0, min(ages))
    return (
        f"{live} was confirmed {since:.0f} s ago, and {live.other} has {old.revision[:12]} to go back to for "
        f"{keep_warm} s (setting migrations.keep_warm): a contract would end that"
    )


def may_have_contracted(state: str | None, statuses: Mapping[str, ProxyStatus], run: str) -> bool:
    """Return whether a run may have run a command of the phase ``contract``, if only in part.

    Before it does, it writes that down on every proxy. Whatever is not proven counts: a rollback would go to
    a release that misses what was removed.

    :param state: of its task ``contract``; ``None`` if that did not begin.
    :param statuses: the last status of each proxy.
    :param run: the run, as the proxies know it.
    """
    if state in (None, "upstream_failed"):
        return False
    locks = [one.lock for one in statuses.values() if one.lock and one.lock.run_id == run]
    return not locks or len(locks) < len(statuses) or any(one.contracts for one in locks)


def contracted_since(records: Iterable[Record], release: str) -> Record | None:
    """Return the last contract since a release was live; it may need what that has removed.

    A contract that failed, or died without its report, counts as well, if anything may have run.
    """
    return _last(one for one in _since_live(records, release) if one.contracted)


def irreversible_since(records: Iterable[Record], release: str) -> Record | None:
    """Return the last run since a release was live that moved traffic to an irreversible one.

    A later release of the same revision is as good as the irreversible one itself.
    """
    revision = revision_of(release)
    later = _since_live(records, release)
    return _last(one for one in later if one.irreversible and one.revision != revision)


def not_found_good(records: Iterable[Record], release: str, configuration: str) -> Record | None:
    """Return the run in which a release was live last, if it is irreversible and was not found good then."""
    wanted = (release, configuration)
    tried = [one for one in records if (one.release, one.configuration) == wanted]
    last = _last(one for one in tried if one.irreversible or one.outcome in (Outcome.LIVE, Outcome.FROZEN))
    return last if last and last.outcome != Outcome.LIVE else None


def why_no_way_back(live: Color, statuses: Collection[ProxyStatus], records: Iterable[Record]) -> str | None:
    """Return why a rollback from the live color would be refused, though its release is there; else ``None``.

    :param statuses: the answer of each proxy.
    :param records: of the ledger.
    """
    known = list(records)
    for good in good_releases(live.other, statuses):
        if bad := not_found_good(known, good.release, good.configuration):
            return f"{good.revision[:12]} was not found good when it was live (run {bad.run_id})"
        if contract := contracted_since(known, good.release):
            return f"{good.revision[:12]} was last live before the contract{moment_of(contract)}"
        confirmed = (one.confirmed for one in statuses if one.confirmed and one.confirmed.color is live)
        irreversible = next((one.irreversible for one in confirmed if one.irreversible), None)
        if irreversible is None and (since := irreversible_since(known, good.release)):
            irreversible = since.irreversible
        if irreversible:
            return f"{good.revision[:12]} was last live before what is irreversible ({irreversible})"
    return None


def moment_of(contract: Record) -> str:
    """Return which contract it was, as what follows these words."""
    when = f" of {contract.ended:%F %H:%M} UTC" if contract.ended else ""
    return f"{when} (run {contract.run_id})"


def _since_live(records: Iterable[Record], release: str) -> list[Record]:
    """Return the records of runs that ended after a release was live last; all if it never was.

    It was live when its own run ended, and at the end of every run that has found it so: the release that is
    live while a contract runs has not missed it.
    """
    known, revision = list(records), revision_of(release)
    was_live = (Outcome.LIVE, Outcome.FROZEN)
    own = [one for one in known if one.release == release and one.outcome in was_live]
    found = [one for one in known if one.live_revision == revision]
    last_live = max(map(_end, [*own, *found]), default=EPOCH)
    return [one for one in known if _end(one) > last_live]


def _last(records: Iterable[Record]) -> Record | None:
    return max(records, key=_end, default=None)


def _end(record: Record) -> datetime:
    return record.ended or EPOCH
