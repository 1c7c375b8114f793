"""Airflow's REST API, as far as runs are triggered, answered, followed, ended and cleared by it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import requests

from demo.errors import ApiError, ApiUnreachableError, RunTimeoutError

POLL_SECONDS = 0.4
REQUEST_SECONDS = 30
PAGE = 100
RUN_ENDED = ("success", "failed")
# Airflow 3.3.2 now and then calls a run deadlocked whose task fails after it was cleared; the rest is left.
# The teardowns of a run that was marked failed begin in a second or two.
GIVEN_UP_SECONDS = 15.0
TASK_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")

Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A DAG run.

    :param triggered: seconds since the epoch when it was asked for, on this machine's clock.
    """

    dag_id: str
    run_id: str
    triggered: float


@dataclass(frozen=True)
class Task:
    """A task instance as it is now.

    :param map_index: -1 unless the task is mapped.
    :param label: how the UI names a mapped instance; its index until the task has set a name.
    :param state: Airflow's word, ``none`` for not scheduled yet.
    :param attempt: 1 for the first.
    :param seconds: how long it ran or has been running; 0.0 before.
    :param ended: when it ended, as Airflow writes it; empty before.
    """

    task_id: str
    map_index: int
    label: str
    state: str
    attempt: int
    seconds: float
    ended: str

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Task:
        """Read one element of ``task_instances``."""
        index = int(data["map_index"])
        return cls(
            task_id=data["task_id"],
            map_index=index,
            label=str(data.get("rendered_map_index") or (index if index >= 0 else "")),
            state=data["state"] or "none",
            attempt=int(data.get("try_number") or 0),
            seconds=float(data.get("duration") or 0.0),
            ended=data.get("end_date") or "",
        )

    def __str__(self) -> str:
        return f"{self.task_id}[{self.label}]" if self.label else self.task_id


class AirflowClient:
    """One user of one Airflow.

    :param url: of the API server, for example ``http://127.0.0.1:8080``.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._session = requests.Session()
        # Ignore proxies and .netrc of the environment.
        self._session.trust_env = False

    def login(self) -> None:
        """Get a token, which holds for a day.

        :raises ApiError: if user or password are refused.
        """
        answer = self._send("POST", "/auth/token", json=self._credentials)
        self._session.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def get(self, path: str, **params: Any) -> Json:
        """Return the answer to ``GET /api/v2/<path>``.

        :raises ApiError: the API refused.
        :raises ApiUnreachableError: it did not answer.
        """
        return self._authorized("GET", path, params=params)

    def items(self, path: str, key: str) -> list[Json]:
        """Return all pages of a listing."""
        found: list[Json] = []
        while True:
            answer = self.get(path, limit=PAGE, offset=len(found))
            found += answer[key]
            if not answer[key] or len(found) >= answer["total_entries"]:
                return found

    def health(self) -> dict[str, str]:
        """Return the health of each part, for example ``healthy``."""
        answer = self._send("GET", "/api/v2/monitor/health")
        return {name: part.get("status") or "unknown" for name, part in answer.items()}

    def warm_up(self) -> None:
        """Make the API server load the part of it that tasks talk to.

        :raises ApiUnreachableError: it does not answer.
        """
        self._send("GET", "/execution/health")

    def dag_ids(self) -> set[str]:
        """Return the ids of all DAGs."""
        return {dag["dag_id"] for dag in self.items("dags", "dags")}

    def import_errors(self) -> list[str]:
        """Return what is wrong with DAG files: the file and the error's last line."""
        return [
            f"{error['filename']}: {error['stack_trace'].strip().splitlines()[-1]}"
            for error in self.items("importErrors", "import_errors")
        ]

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> Run:
        """Start a run of a DAG.

        :param conf: its params.
        :param run_id: its id; default: Airflow's choice.
        :raises ApiError: 404 for an unknown DAG, 400 for params that its schema refuses, 409 for a run id
            that exists.
        """
        now = time.time()
        body: Json = {"logical_date": None, "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        answer = self._authorized("POST", f"dags/{quote(dag_id)}/dagRuns", json=body)
        return Run(dag_id, answer["dag_run_id"], now)

    def connect(self, connection_id: str, kind: str, extra: Mapping[str, Any], **fields: str) -> None:
        """Make an Airflow connection, or change the one of that id.

        :param kind: its type, for example ``apprise``.
        :param fields: ``host``, ``login``, ``password``.
        """
        body = {"connection_id": connection_id, "conn_type": kind, "extra": json.dumps(extra), **fields}
        try:
            self._authorized("POST", "connections", json=body)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            self._authorized("PATCH", f"connections/{quote(connection_id)}", json=body)

    def answer(self, run: Run, task_id: str, option: str) -> None:
        """Answer a task that waits for a person.

        :param option: one of those that it offers, for example ``Approve``.
        :raises ApiError: 404 if it does not wait, 409 if somebody has answered.
        """
        path = f"{_path(run)}/taskInstances/{quote(task_id)}/-1/hitlDetails"
        self._authorized("PATCH", path, json={"chosen_options": [option], "params_input": {}})

    def write_xcom(self, run: Run, task_id: str, key: str, value: Any) -> None:
        """Change or create an XCom of a task, as every user who may edit XComs can.

        :raises ApiError: the API refused.
        """
        path = f"{_path(run)}/taskInstances/{quote(task_id)}/xcomEntries"
        try:
            self._authorized("POST", path, json={"key": key, "value": value, "map_index": -1})
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            self._authorized("PATCH", f"{path}/{quote(key)}", json={"value": value, "map_index": -1})

    def task_ids(self, dag_id: str) -> set[str]:
        """Return the ids of a DAG's tasks, as its file was when it was last read."""
        return {task["task_id"] for task in self.get(f"dags/{quote(dag_id)}/tasks")["tasks"]}

    def read_again(self, dag_id: str) -> None:
        """Let Airflow read a DAG's file soon, instead of when its turn comes."""
        token = self.get(f"dags/{quote(dag_id)}")["file_token"]
        self._authorized("PUT", f"parseDagFile/{quote(token)}")

    def run_state(self, run: Run) -> str:
        """Return Airflow's word for how a run is: ``queued``, ``running``, ``success`` or ``failed``."""
        return str(self.get(_path(run))["state"])

    def mark(self, run: Run, state: str) -> None:
        """End a run by hand, as the UI's buttons do.

        :param state: ``failed`` or ``success``.
        """
        self._authorized("PATCH", _path(run), json={"state": state})

    def mark_task(self, run: Run, task_id: str, state: str) -> None:
        """End a task by hand; of a mapped one, its first instance.

        :param state: ``failed`` or ``success``.
        """
        mapped = [task.map_index for task in self.tasks(run) if task.task_id == task_id]
        path = f"{_path(run)}/taskInstances/{quote(task_id)}"
        self._authorized("PATCH", path, params={"map_index": min(mapped)}, json={"new_state": state})

    def clear(self, run: Run, task_ids: Sequence[str] = ()) -> None:
        """Let tasks, and all that follow them, run again.

        :param task_ids: which; default: all.
        """
        which: Json = {"task_ids": list(task_ids), "include_downstream": True} if task_ids else {}
        body = {"dag_run_id": run.run_id, "dry_run": False, "only_failed": False, **which}
        self._authorized("POST", f"dags/{quote(run.dag_id)}/clearTaskInstances", json=body)

    def delete(self, run: Run) -> None:
        """Remove a run and all that is known of it."""
        self._authorized("DELETE", _path(run))

    def tasks(self, run: Run) -> list[Task]:
        """Return a run's task instances."""
        return [Task.from_api(each) for each in self.items(f"{_path(run)}/taskInstances", "task_instances")]

    def follow(self, run: Run, seconds: float = 600) -> Iterator[Task]:
        """Yield each task instance whenever its state has changed, until the run has ended.

        :param seconds: how long to wait for the end.
        :raises RunTimeoutError: the run has not ended by then.
        """
        deadline = time.monotonic() + seconds
        known: dict[tuple[str, int], tuple[str, int]] = {}
        ended, over_since = False, None
        while True:
            tasks = self.tasks(run)
            for task in tasks:
                seen = (task.state, task.attempt)
                before = known.get((task.task_id, task.map_index), ("none", 0))
                if seen[0] != before[0] or seen[1] > before[1] > 0:
                    known[task.task_id, task.map_index] = seen
                    yield task
            if ended:
                return
            now = time.monotonic()
            left = {task.state for task in tasks} - {*TASK_ENDED}
            over = left <= {"none"} and self.run_state(run) in RUN_ENDED
            over_since = (over_since or now) if over else None
            # A run with tasks to do goes on, unless Airflow gave it up. Its tasks are looked at once more.
            ended = over_since is not None and (not left or now - over_since > GIVEN_UP_SECONDS)
            if ended:
                continue
            if now > deadline:
                going = ", ".join(f"{name} {state}" for (name, _), (state, _) in known.items())
                raise RunTimeoutError(f"{run.dag_id} {run.run_id} has not ended after {seconds:g} s: {going}")
            time.sleep(POLL_SECONDS)

    def wait(self, run: Run, seconds: float = 600) -> str:
        """Wait for the end of a run; return its state.

        :raises RunTimeoutError: the run has not ended by then.
        """
        deadline = time.monotonic() + seconds
        # The state of a run costs the API server, which the tasks need too, a quarter of what its tasks cost.
        while self.run_state(run) not in RUN_ENDED and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for _ in self.follow(run, deadline - time.monotonic()):
            pass
        return self.run_state(run)

    def xcom(self, run: Run, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return a value that a task has left; ``None`` if there is none."""
        path = f"{_path(run)}/taskInstances/{quote(task_id)}/xcomEntries/{quote(key)}"
        try:
            return self.get(path, map_index=map_index, deserialize=True)["value"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def log(self, run: Run, task: Task) -> str:
        """Return the log of a task's last attempt, one line per event."""
        path = f"{_path(run)}/taskInstances/{quote(task.task_id)}/logs/{max(task.attempt, 1)}"
        events = self.get(path, map_index=task.map_index)["content"]
        return "\n".join(_log_line(event) for event in events)

    def last_line(self, run: Run) -> str:
        """Return the line that describes how a run ended.

        It is the message of the task ``report``; in a run without one, the first failed task's error.
        """
        report = self.xcom(run, "report", "report")
        if report:
            return str(report["message"])
        failed = sorted(
            (task for task in self.tasks(run) if task.state == "failed"), key=lambda task: task.ended
        )
        if not failed:
            return f"{run.dag_id} {run.run_id}: {self.run_state(run)}"
        path = f"{_path(run)}/taskInstances/{quote(failed[0].task_id)}/logs/{max(failed[0].attempt, 1)}"
        events = self.get(path, map_index=failed[0].map_index)["content"]
        return f"{failed[0]}: {_exception_of(events) or 'failed without a word, see its log'}"

    def _authorized(self, method: str, path: str, **options: Any) -> Json:
        if "Authorization" not in self._session.headers:
            self.login()
        return self._send(method, f"/api/v2/{path}", **options)

    def _send(self, method: str, path: str, **options: Any) -> Json:
        try:
            response = self._session.request(method, self.url + path, timeout=REQUEST_SECONDS, **options)
        except requests.RequestException as error:
            raise ApiUnreachableError(f"Airflow at {self.url} does not answer: {error}") from None
        if response.ok and response.content in (b"", b"null"):
            return {}
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not response.ok:
            detail = answer.get("detail", answer) if isinstance(answer, dict) else response.text[:200]
            text = detail if isinstance(detail, str) else json.dumps(detail)
            raise ApiError(response.status_code, f"Airflow refused {method} {path}: {text}")
        if not isinstance(answer, dict):
            raise ApiUnreachableError(f"what answers at {self.url}{path} is not Airflow's API")
        return answer


def _path(run: Run) -> str:
    return f"dags/{quote(run.dag_id)}/dagRuns/{quote(run.run_id)}"


def _log_line(event: Any) -> str:
    if not isinstance(event, dict):
        return str(event)
    error = _error_of(event)
    return " ".join(str(part) for part in (event.get("timestamp") or "", event["event"], error) if part)


def _error_of(event: Mapping[str, Any]) -> str:
    """The exception in a log event, the outermost one, in one line."""
    details = event.get("error_detail") or []
    return f"{details[0]['exc_type']}: {details[0]['exc_value']}" if details else ""


def _exception_of(events: list[Any]) -> str:
    errors = [_error_of(event) for event in events if isinstance(event, dict)]
    return next((error for error in reversed(errors) if error), "")
