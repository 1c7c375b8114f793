"""What the last tasks of a run leave for CI clients, pages and notifications, as they find it in XComs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from bluegreen.color import Color
from bluegreen.traffic.drain import Drain
from bluegreen.validation.evidence import Evidence


class RollbackResult(BaseModel):
    """The result of the task ``rollback``.

    :param moved: whether the task moved traffic.
    :param taken_back: whether a switch of this run was taken back, by the task or by a proxy's timer.
    :param live: who is live now.
    :param milliseconds: until the last proxy answered with the old color again, if traffic was moved.
    """

    model_config = ConfigDict(frozen=True)

    moved: bool = False
    taken_back: bool = False
    live: Color | None = None
    milliseconds: float | None = None


class Report(BaseModel):
    """The XCom ``report`` of the task ``report``: how a run ended.

    :param outcome: an :class:`~bluegreen.run.outcome.Outcome`, or ``done`` or ``failed``.
    :param live: who is live, if that is known.
    :param message: the one line for people.
    :param older: by how much the revision was older than what was live, if it was, and who forced that.
    :param approved_by: who approved the switch, if anybody did.
    :param rests_on: what the bake's verdict rests on, if there was one.
    :param drain: how the color that was deployed to became free, if the run got that far.
    :param still_running: requests in progress on the color that is not live.
    :param record: the run's line in the ledger.
    :param heads: by proxy, the SHA-256 of its ledger's last line once it had the record, so that Airflow can
        prove that line; empty if a proxy could not write it.
    """

    model_config = ConfigDict(frozen=True)

    outcome: str
    live: Color | None = None
    message: str
    older: str | None = None
    approved_by: str | None = None
    rests_on: Evidence | None = None
    drain: Drain | None = None
    still_running: int = 0
    record: dict[str, Any] = {}
    heads: dict[str, str] = {}
