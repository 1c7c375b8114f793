"""A queue over deploys and rollbacks: every job is done, by one version at a time, where the traffic is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from demo.client import Run
from demo.errors import ApiError, ApiUnreachableError
from tests.sandbox.app_file import DEPLOY, settings
from tests.sandbox.chaos.moments import Moment
from tests.sandbox.stack import RUN_SECONDS, SYSTEM_NAME, Ended, Stack
from tests.sandbox.state.services import Services
from tests.sandbox.state.state_fleet import Releases
from tests.waiting import until

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(1200)]

JOBS, RUNS = 2000, 7
# Seconds between two moments of the timer.
PERIOD = 10
PROCESSES = {
    "processes": {"worker": {"command": ["bin/worker"], "count": 2, "stop_timeout": 20}},
    "timers": {"tick": {"command": ["bin/tick"], "calendar": f"*:*:0/{PERIOD}", "timeout": PERIOD}},
}
TABLES = """
CREATE TABLE work (id bigserial PRIMARY KEY, job int NOT NULL, release text NOT NULL, droplet text NOT NULL,
    began timestamptz NOT NULL DEFAULT clock_timestamp(), ended timestamptz);
CREATE TABLE ticks (droplet text NOT NULL, at timestamptz NOT NULL DEFAULT now());
"""
# Of a job whose worker was killed nobody knows more than that it had begun.
TOGETHER = """
WITH work AS (SELECT *, tstzrange(began, coalesce(ended, began), '[]') AS during FROM work)
SELECT a.job, a.release, b.job, b.release FROM work a JOIN work b
ON a.release < b.release AND a.during && b.during LIMIT 3
"""
WORKER = f"{SYSTEM_NAME}-worker@1.service"

Strike = Callable[[Stack, Run], None]


@dataclass(frozen=True)
class Quiet:
    """A time between two runs, in seconds since the epoch.

    :param release: the tag of the release that was live.
    :param droplets: the names of the live droplets.
    """

    began: float
    ended: float
    release: str
    droplets: frozenset[str]


class Queue:
    """The jobs, and where they were worked on.

    :param stack: a fleet whose live color works on the queue.
    """

    def __init__(self, stack: Stack, services: Services) -> None:
        self.stack = stack
        self.services = services
        self.quiet: list[Quiet] = []
        self.put = 0
        self._since = time.time()

    def enqueue(self, count: int) -> None:
        """Put jobs into the queue, by the program of the live release."""
        machine = self.stack.machines(self.stack.live())[0]
        words = [f"{name}={value}" for name, value in self.services.environment.items()]
        program = f"/opt/{SYSTEM_NAME}/current/bin/enqueue"
        machine.run(["env", *words, program, str(self.put + 1), str(self.put + count)])
        self.put += count

    def done(self) -> int:
        """How many jobs were worked on to their end, each counted once."""
        return int(self.services.query("SELECT count(DISTINCT job) FROM work WHERE ended IS NOT NULL"))

    def run(self, kind: str, strike: Strike | None = None, *, works: bool = True, **conf: str) -> Ended:
        """Start a run while there is work to do, and wait for its end.

        :param strike: what happens in the middle, called when the run has begun.
        :param works: whether somebody works on the queue.
        """
        stack, wanted = self.stack, self.done() + 20
        self.enqueue(JOBS // RUNS)
        until(lambda: not works or self.done() >= wanted, "the live color works on the queue", 120)
        self.end_quiet()
        run = stack.trigger(kind, **conf)
        if strike:
            strike(stack, run)
        client = stack.client
        state = client.wait(run, RUN_SECONDS)
        ended = Ended(run, state, client.xcom(run, "report", "report") or {})
        print(ended.report.get("message"))
        self._since = time.time()
        return ended

    def end_quiet(self) -> None:
        """Remember who was live since the last run."""
        live = self.stack.live()
        droplets = frozenset(machine.name for machine in self.stack.machines(live))
        self.quiet.append(Quiet(self._since, time.time(), self.stack.live_ref() or "", droplets))

    def at_work(self, quiet: Quiet) -> set[tuple[str, str]]:
        """Which releases and droplets began jobs in a time."""
        rows = self.services.query("SELECT release, droplet, extract(epoch FROM began) FROM work")
        begun = [row.split("|") for row in rows.splitlines()]
        return {
            (release, droplet)
            for release, droplet, began in begun
            if quiet.began <= float(began) <= quiet.ended
        }

    def ticks(self) -> Counter[int]:
        """How often the timer's command ran, by the moment that it ran for."""
        rows = self.services.query("SELECT extract(epoch FROM at) FROM ticks")
        return Counter(int(float(row) // PERIOD) for row in rows.splitlines())


def moments(quiet: Quiet) -> range:
    """The timer's moments that lie in a time, with all that they run."""
    return range(int(quiet.began // PERIOD) + 1, int(quiet.ended // PERIOD))


@pytest.fixture
def queue(stack: Stack, services: Services, releases: Releases) -> Iterator[Queue]:
    """A queue that the live color works on; afterwards nothing of it is left anywhere."""
    services.query(f"SET ROLE {services.database.name}; {TABLES}")
    client = stack.client
    # Minion's tables are there before several workers would make them at once.
    Queue(stack, services).enqueue(0)
    with settings(stack, PROCESSES, shown=lambda: client.task_ids(DEPLOY)):
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
        yield Queue(stack, services)
    # The droplets keep running what is not in the file any more, so it is in there once more, empty.
    with settings(stack, {"processes": {}}, shown=lambda: client.task_ids(DEPLOY)):
        stack.run("deploy", ref=stack.other_ref()).expect("live and confirmed")
    services.query("DROP TABLE work, ticks; TRUNCATE minion_jobs, minion_workers")


def kill_workers(stack: Stack, run: Run) -> None:
    """Kill what works on the queue, on each live droplet."""
    for machine in stack.machines(stack.live()):
        machine.run(["systemctl", "kill", "--signal=KILL", WORKER])


def kill_airflow(stack: Stack, run: Run) -> None:
    """Kill all of Airflow when the switch is confirmed, and start it again."""
    assert Moment.parse("after confirm").wait(stack, run, RUN_SECONDS)
    airflow = stack.airflow
    for part in (airflow.scheduler, airflow.dag_processor, airflow.api_server):
        part.kill()
    for part in (airflow.scheduler, airflow.dag_processor, airflow.api_server):
        part.start()
    airflow.wait_healthy()


def give_up_amid_the_move(stack: Stack, run: Run) -> None:
    """Kill all of Airflow when no color works on the queue, and let its run not go on."""
    assert Moment.parse("amid move_processes").wait(stack, run, RUN_SECONDS)
    airflow, client = stack.airflow, stack.client
    for part in (airflow.scheduler, airflow.dag_processor, airflow.api_server):
        part.kill()
    airflow.api_server.start()

    def is_marked() -> bool:
        try:
            client.mark(run, "failed")
        except (ApiError, ApiUnreachableError):
            return False
        return True

    # While there is no scheduler that would run the task again.
    until(is_marked, "the run is marked failed")
    airflow.scheduler.start()
    airflow.dag_processor.start()
    airflow.wait_healthy()


def test_every_job_is_done_by_one_version_at_a_time_where_the_traffic_is(
    queue: Queue, services: Services, releases: Releases
) -> None:
    for number in range(1, 6):
        releases.add(f"queue-{number}", {}, on="v1")
    queue.run("deploy", ref="queue-1").expect("live and confirmed")
    queue.run("deploy", kill_workers, ref="queue-2").expect("live and confirmed")
    queue.run("deploy", kill_airflow, ref="queue-3").expect("live and confirmed")
    queue.run("rollback").expect("live and confirmed")
    queue.run("deploy", give_up_amid_the_move, ref="queue-4")
    queue.enqueue(JOBS % RUNS)
    queue.run("deploy", works=False, ref="queue-5").expect("live and confirmed")
    queue.run("rollback").expect("live and confirmed")
    assert queue.put == JOBS
    unfinished = "SELECT count(*) FROM minion_jobs WHERE state <> 'finished'"
    until(lambda: services.query(unfinished) == "0", "the queue is empty", 300)
    queue.end_quiet()

    assert queue.done() == JOBS
    assert services.query(TOGETHER) == ""
    for quiet in queue.quiet:
        assert queue.at_work(quiet) <= {(quiet.release, droplet) for droplet in quiet.droplets}
    # But for those that were killed, workers have finished what they had begun.
    assert services.query("SELECT DISTINCT release FROM work WHERE ended IS NULL") in ("", "queue-1")
    ticks = queue.ticks()
    assert set(ticks.values()) == {1}
    for quiet in queue.quiet:
        assert not queue.at_work(quiet) or all(ticks[moment] for moment in moments(quiet))
