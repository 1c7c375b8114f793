"""A job on a droplet, as a transient systemd unit there: started, followed to its end, and removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self

from airflow.sdk import BaseHook

from agent.protocol import Program, Verb
from bluegreen.hooks.droplet import DropletUnreachableError
from bluegreen.hooks.droplet_agent import DropletAgentHook
from bluegreen.release.jobs import JobReport, JobState
from bluegreen.release.system_names import system_name

# Seconds for which a lost connection is opened again, and between two attempts.
RECONNECT_SECONDS = 60.0
RECONNECT_INTERVAL = 2.0
# Seconds after which a connection that follows a job is replaced by the next one.
FOLLOW_SECONDS = 600


class RemoteJob(BaseHook):
    """One job.

    Airflow's own ``SSHRemoteJobOperator`` has no token by which a later run ends the job, no second run that
    attaches to it, and no output without the values of the app's environment.

    :param agent: of the droplet.
    :param app_id: the app that the job is for.
    :param unit: the job's name.
    :param token: of the run; a run with a greater one ends the job.
    """

    def __init__(self, agent: DropletAgentHook, app_id: str, unit: str, token: int) -> None:
        super().__init__()
        self.agent = agent
        self.token = token
        self._about = {"app": system_name(app_id), "unit": unit}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.agent.close()

    def start(self, run_id: str, program: Program, timeout: int) -> bool:
        """Start the job, or attach to the one that is there.

        A job of that name that is at work, or that ended for the same run, is left as it is. Jobs of earlier
        runs that do not do the very same are stopped before.

        :param run_id: the Airflow run.
        :param program: what to do.
        :param timeout: seconds after which systemd ends the job.
        :return: whether it was there.
        :raises AgentRefusedError: with the code ``claimed`` if a later run has claimed the droplet.
        """
        answer = self.agent.call(
            Verb.START_JOB, **self._about, token=self.token, run_id=run_id, program=program, timeout=timeout
        )
        return answer.get("attached") is True

    def follow(
        self, write: Callable[[Sequence[str]], object], meanwhile: Callable[[], object] = lambda: None
    ) -> JobReport:
        """Wait for the job's end, and return how it ended. A lost connection is opened again for a while.

        :param write: gets the lines that the job writes, as they come.
        :param meanwhile: called every few seconds; what it raises ends the wait, and the job goes on.
        :raises DropletUnreachableError: if the droplet stays away.
        """
        cursor, lost_since = 0, None
        while True:
            meanwhile()
            try:
                request = {**self._about, "cursor": cursor, "seconds": FOLLOW_SECONDS}
                with closing(self.agent.follow(Verb.FOLLOW_JOB, **request)) as items:
                    for item in items:
                        lost_since, cursor = None, item["cursor"]
                        if "lines" in item:
                            write(item["lines"])
                            meanwhile()
                        else:
                            report = JobReport.parse(item)
            except DropletUnreachableError as error:
                lost_since = lost_since or time.monotonic()
                if time.monotonic() - lost_since > RECONNECT_SECONDS:
                    raise
                self.log.warning("%s; connecting again", error)
                time.sleep(RECONNECT_INTERVAL)
                continue
            if report.state is not JobState.RUNNING:
                return report

    def end(self) -> None:
        """Stop the job if it is at work, and remove every trace of it.

        :raises AgentRefusedError: with the code ``claimed`` if a later run has claimed the droplet; then the
            job is left alone.
        """
        self.agent.call(Verb.END_JOB, **self._about, token=self.token)
