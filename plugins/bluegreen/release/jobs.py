"""The end of a job on a droplet, from the agent's answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.protocol import JobState, Verb
from bluegreen.errors import BlueGreenError

__all__ = ["JobError", "JobReport", "JobState", "StartedPairing"]


class JobError(BlueGreenError):
    """A droplet's report on a job is not usable."""


class StartedPairing(BaseModel):
    """What a job has started on a droplet: see :class:`agent.droplet.messages.Started`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    release: str
    configuration: str
    pairing: str


class JobReport(BaseModel):
    """An answer of the agent's ``follow_job``.

    :param exit_status: of the job's process once it has ended, else ``None``.
    :param result: systemd's word for how it ended: ``success``, ``exit-code``, ``signal``, ``timeout`` …
    :param run_id: the run that started the job.
    :param seconds: how long the job has run, or ran.
    :param cursor: the position up to which its output was read.
    :param answers: those of its steps by verb, as far as they had answered when it ended.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    state: JobState
    exit_status: int | None
    result: str
    run_id: str
    seconds: float
    cursor: int
    answers: Mapping[str, Any] = {}

    def started(self, verb: Verb) -> StartedPairing:
        """Return what a step of the job has started.

        :raises JobError: if it does not say so.
        """
        try:
            return StartedPairing.model_validate(self.answers.get(verb.value))
        except ValidationError:
            raise JobError(f"the droplet's report on the job does not describe what {verb} started") from None

    @classmethod
    def parse(cls, answer: Mapping[str, Any]) -> JobReport:
        """Make it from an answer.

        :raises JobError: if it is not a whole answer.
        """
        try:
            return cls.model_validate(answer)
        except ValidationError as error:
            place = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise JobError(f"the droplet's report on the job is not whole: {place}") from None
