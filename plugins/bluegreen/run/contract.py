"""When a contract may run, and what it means for the way back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet
from bluegreen.run.ledger import Record
from bluegreen.run.outcome import UNREPORTED, Outcome
from bluegreen.traffic.agent_answers import GoodRelease, ProxyStatus
from bluegreen.traffic.live import good_releases

CONTRACT_DAG = "bluegreen_contract__"


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
    confirmed = all(one.confirmed and one.confirmed.color is live for one in statuses.values())
    if len(found) != len(statuses) or len({(one.release, one.configuration) for one in found}) != 1:
        raise BlueGreenError(f"the proxies do not agree which release of {live} was confirmed; deploy first")
    if not confirmed:
        raise BlueGreenError(f"{live} is live, and that was not confirmed everywhere; deploy first")
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


def contracted_since(records: Iterable[Record], release: str) -> Record | None:
    """Return the last contract since a release was live; it may need what that has removed.

    A contract that failed, or died without its report, counts as well: what it has run is not known.
    """
    known = list(records)
    epoch = datetime.fromtimestamp(0, UTC)
    live = [one.ended or epoch for one in known if one.release == release and one.outcome == Outcome.LIVE]
    last_live = max(live, default=epoch)
    contracts = [one for one in known if _has_contracted(one) and (one.ended or epoch) > last_live]
    return max(contracts, key=lambda one: one.ended or epoch, default=None)


def _has_contracted(record: Record) -> bool:
    died = record.dag_id.startswith(CONTRACT_DAG) and record.outcome == UNREPORTED
    return record.contracted or died
