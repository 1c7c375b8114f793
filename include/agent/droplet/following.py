"""Following a job to its end, over one connection."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping

from agent.call import Call
from agent.droplet.guests import remembered_end
from agent.droplet.job_log import lines_after
from agent.droplet.jobs import Job, answers_of, state_of
from agent.droplet.masking import JobMask
from agent.fields import number
from agent.protocol import HEARTBEAT, LONGEST_JOB, JobProgress, JobState, Json, Verb
from agent.system import since_boot

PAUSE = 0.2
LARGEST_LOG = 1 << 50


def follow_job(call: Call, request: Json) -> Json:
    """Write what a job writes, as lines of progress, until the job has ended; then answer how.

    While the job writes nothing, there is a line of progress without lines every few seconds. A job whose
    last lines are still to be fetched has not ended. No value that the app runs with is written. Of a one-off
    command that was removed, or that a restart took along, the end is answered if it is remembered.

    Request: ``app``, ``unit``, ``cursor`` (up to where its output was read), ``seconds`` (after which the
    state is ``running``, and the job goes on). Answer: ``protocol.JobEnd``, after any number of lines
    ``{"progress": protocol.JobProgress}``. A kill leaves nothing.
    """
    job = Job.of(call, request)
    cursor = int(number(request, "cursor", 0, LARGEST_LOG))
    ends = since_boot() + number(request, "seconds", 0, LONGEST_JOB)
    said = since_boot()
    hide = JobMask(job)
    while True:
        known = job.properties(call.deadline)
        state = state_of(known)
        more = False
        ran = remembered_end(job.app, job.unit) if state is JobState.MISSING else None
        if ran:
            return _remembered(ran, cursor)
        if state is not JobState.MISSING:
            goes_on = state is JobState.RUNNING
            hide.update()
            lines, cursor, more = lines_after(job.log, cursor, goes_on=goes_on, hide=hide)
            if lines or since_boot() - said >= HEARTBEAT:
                _progress(lines, cursor)
                said = since_boot()
        is_over = since_boot() >= ends
        if is_over or (state is not JobState.RUNNING and not more):
            state = JobState.RUNNING if more else state
            answers = answers_of(job) if state in (JobState.SUCCESS, JobState.FAILED) else {}
            return {**_end(state, known, cursor), "answers": answers}
        if not more:
            time.sleep(PAUSE)


def _progress(lines: list[str], cursor: int) -> None:
    progress: JobProgress = {"lines": lines, "cursor": cursor}
    sys.stdout.write(json.dumps({"progress": progress}) + "\n")
    # Who reads that goes on at once.
    sys.stdout.flush()


def _end(state: JobState, known: Mapping[str, str], cursor: int) -> Json:
    is_there = state is not JobState.MISSING
    has_ended = state in (JobState.SUCCESS, JobState.FAILED)
    return {
        "state": state.value,
        "result": known.get("Result", ""),
        "exit_status": int(known.get("ExecMainStatus") or 0) if has_ended else None,
        "seconds": _seconds(known),
        "cursor": cursor,
        "run_id": known.get("Description", "") if is_there else "",
    }


def _remembered(ran: Json, cursor: int) -> Json:
    """Return the end of the job of a command that is remembered."""
    failed = ran["exit_status"] != 0
    return {
        "state": (JobState.FAILED if failed else JobState.SUCCESS).value,
        "result": "exit-code" if failed else "success",
        "exit_status": int(failed),
        "seconds": ran.get("seconds", 0.0),
        "cursor": cursor,
        "run_id": "",
        "answers": {Verb.RUN_COMMAND.value: ran},
    }


def _seconds(known: Mapping[str, str]) -> float:
    """Return how long a job has run, or ran."""
    began, ended = (int(known.get(f"ExecMain{end}TimestampMonotonic") or 0) for end in ("Start", "Exit"))
    return ((ended or time.monotonic() * 1_000_000) - began) / 1_000_000 if began else 0.0
