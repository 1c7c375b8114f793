#!/usr/bin/env python3
"""Deploy an app from a CI job: trigger its deploy DAG in Airflow, follow the run, exit by its outcome."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

EXPLANATION = """\
exit status:
  0        the revision is live and confirmed, or was live already; after a dry run, a deploy would succeed
  2        refused: bad arguments, or Airflow refuses (credentials, permission, no such app, malformed ref)
  3        failed before the switch: clients get what they got before; after a dry run, a deploy would fail
  4        rolled back: clients get again what they got before
  5        not over within --timeout; the run goes on
  6        unclear, or frozen: none of these; the last line says what is known
  7        Airflow cannot be reached; a run that has begun goes on
  8        the app's policy refuses it (older than what is live, not an allowed branch or tag, not approved …)
  128 + n  detached by signal n (130 for Ctrl-C); the run goes on

environment:
  AIRFLOW_URL, AIRFLOW_CA_FILE                                        defaults of --url and --ca-file
  AIRFLOW_USERNAME with AIRFLOW_PASSWORD or AIRFLOW_PASSWORD_FILE     for whom a token is asked
  AIRFLOW_TOKEN or AIRFLOW_TOKEN_FILE                                 a token, instead of these
  https_proxy, no_proxy                                               as everywhere

The run id is made from ref and CI job (GitHub Actions, GitLab CI): a repeated call follows what it began.
A signal ends the client, not the run; the same call with the printed --run-id follows it again.
"""

POLL_SECONDS = 1.0
REQUEST_SECONDS = 20.0
FIRST_ANSWER_SECONDS = SIGN_OF_LIFE_SECONDS = 60.0  # patience tells a restart from a wrong address
PAGE = 100
ENDED = ("success", "failed")
QUIET = ("none", "scheduled", "queued", "removed", "upstream_failed")  # not worth a line
WORDS = {"awaiting_input": "waits for an approval, see Required Actions in Airflow"}

T = TypeVar("T")
Json = dict[str, Any]
# A task instance as it is now: which one, what of it is worth a line, when that was, and the line.
Task = tuple[tuple[str, int], tuple[str, int], str, str]
_secrets: set[str] = set()


class Exit(IntEnum):
    """What the exit status means."""

    GOOD = 0
    REFUSED = 2
    NOT_SWITCHED = 3
    ROLLED_BACK = 4
    TIMED_OUT = 5
    UNCLEAR = 6
    UNREACHABLE = 7
    POLICY = 8


OUTCOMES = {
    "live and confirmed": Exit.GOOD,
    "already live": Exit.GOOD,
    "would succeed": Exit.GOOD,
    "refused before the switch": Exit.NOT_SWITCHED,
    "refused by policy": Exit.POLICY,
    "rolled back": Exit.ROLLED_BACK,
}


class EndError(Exception):
    """What ends the client, in one line; with the HTTP status, if that was Airflow's answer."""

    def __init__(self, code: Exit, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class UnavailableError(Exception):
    """No answer, or not Airflow's; the next one may be."""


class Interrupted(BaseException):
    """The signal whose number it holds asks to leave."""

    @classmethod
    def by(cls, number: int, frame: object) -> NoReturn:
        """Handle a signal."""
        raise cls(number)


def say(text: str) -> None:
    """Print one line at once, without what must not stand in a log."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    # Whatever a log's encoding lacks must not end the client.
    encoding = sys.stdout.encoding or "ascii"
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        # Nobody reads any more, but somebody may wait for the exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another machine, and turn POST into GET."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def setting(name: str) -> str:
    """Return an environment variable, or what is in the file that ``<name>_FILE`` names, or nothing."""
    path = os.environ.get(f"{name}_FILE")
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get(name, "")
    except (OSError, ValueError) as error:
        raise EndError(Exit.REFUSED, f"{name}_FILE cannot be read: {error}") from None


class Airflow:
    """Airflow's REST API, asked until it answers or, by the monotonic clock, the deadline has come."""

    def __init__(self, url: str, ca_file: str | None, deadline: float) -> None:
        self.url, self.deadline = url.rstrip("/"), deadline
        self._token, self._answered = "", False
        try:
            https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file))
        except OSError as error:
            raise EndError(Exit.REFUSED, f"--ca-file {ca_file} cannot be used: {error}") from None
        proxies = urllib.request.ProxyHandler(None if url.startswith("https:") else {})  # no plain text to it
        self._opener = urllib.request.build_opener(_NoRedirect(), https, proxies)

    def ask(self, method: str, path: str, read: Callable[[Json], T], body: Json | None = None) -> T:
        """Return what ``read`` takes from the answer; what it fails on is not an answer of Airflow's."""
        since, pause = time.monotonic(), 0.0
        patience = self.deadline if self._answered else min(self.deadline, since + FIRST_ANSWER_SECONDS)
        while True:
            try:
                answer = self._authorized(method, f"/api/v2{path}", read, body)
                break
            except UnavailableError as error:
                if not pause:
                    say(f"Airflow does not answer, trying again: {error}")
                pause = min(pause * 2 or POLL_SECONDS / 4, 10)
                if time.monotonic() + pause >= patience:
                    raise EndError(Exit.UNREACHABLE, f"no Airflow at {self.url}: {error}") from None
                time.sleep(pause)
        if pause:
            say(f"Airflow answers again, after {time.monotonic() - since:.0f} s")
        self._answered = True
        return answer

    def _authorized(self, method: str, path: str, read: Callable[[Json], T], body: Json | None) -> T:
        if not self._token:
            self._log_in()
        try:
            return self._send(method, path, read, body)
        except EndError as error:
            # "Invalid JWT token" (403) is what a token meets that was signed with another secret.
            if error.status != 401 and "Invalid JWT" not in str(error):
                raise
        self._log_in()
        return self._send(method, path, read, body)

    def _log_in(self) -> None:
        refused, self._token = self._token, setting("AIRFLOW_TOKEN")
        if self._token:
            if self._token == refused:
                raise EndError(Exit.REFUSED, "Airflow refuses AIRFLOW_TOKEN, which may have expired", 401)
        else:
            user = {"username": os.environ.get("AIRFLOW_USERNAME"), "password": setting("AIRFLOW_PASSWORD")}
            if not all(user.values()):
                raise EndError(Exit.REFUSED, "set AIRFLOW_USERNAME and AIRFLOW_PASSWORD, or AIRFLOW_TOKEN")
            _secrets.add(str(user["password"]))
            self._token = self._send("POST", "/auth/token", lambda a: str(a["access_token"]), user)
        _secrets.add(self._token)

    def _send(self, method: str, path: str, read: Callable[[Json], T], body: Json | None) -> T:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310, it was checked
        patience = min(REQUEST_SECONDS, max(self.deadline - time.monotonic(), 1.0))
        try:
            with self._opener.open(request, timeout=patience) as response:
                return read(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                raise self._failure(error, f"{method} {path}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            if isinstance(reason, ssl.SSLCertVerificationError):
                text = f"{self.url} is not trusted, see --ca-file: {reason.verify_message}"
                raise EndError(Exit.UNREACHABLE, text) from None
            raise UnavailableError(str(reason) or type(reason).__name__) from None
        except (ValueError, TypeError, LookupError, AttributeError):
            raise UnavailableError(f"what answers {path} is not Airflow's API") from None

    def _failure(self, error: urllib.error.HTTPError, request: str) -> Exception:
        if 300 <= error.code < 400:
            return EndError(Exit.REFUSED, f"{self.url} redirects: use {error.headers['Location']} as --url")
        try:
            detail = json.loads(error.read())["detail"]
        except (OSError, http.client.HTTPException, ValueError, TypeError, LookupError):
            detail = None
        if error.code >= 500 or error.code in (408, 429) or detail is None:
            return UnavailableError(f"{request}: {error.code} {error.reason}")
        if isinstance(detail, list):
            # What is wrong with a request, beside the request itself, secrets included.
            detail = "; ".join(str(one.get("msg")) for one in detail if isinstance(one, dict))
        text = f"Airflow refuses {request}: {error.code} {' '.join(str(detail).split())[:300]}"
        return EndError(Exit.REFUSED, text, error.code)


def task_from(data: Json) -> Task:
    """Read one element of ``task_instances``."""
    index, state, tries = data["map_index"], str(data["state"] or "none"), data["try_number"]
    name = data["task_id"] + (f"[{data.get('rendered_map_index') or index}]" if index >= 0 else "")
    seconds = f"{float(data.get('duration') or 0):8.1f} s" if state in ENDED else ""
    line = f"{name:<50} {WORDS.get(state, state):<8}{seconds}" + (f"  attempt {tries}" if tries > 1 else "")
    moment = str(data.get("end_date") or data.get("start_date") or "~")
    return (data["task_id"], index), (state, tries), moment, line.rstrip()


class Deploy:
    """One run of an app's deploy DAG; its id is the same in every call that means the same deploy."""

    def __init__(self, airflow: Airflow, app: str, conf: Json, run_id: str) -> None:
        self._airflow, self._conf, self._run_id = airflow, conf, run_id
        self._dag = f"/dags/{quote(f'bluegreen_deploy__{app}', safe='')}"
        self._run = f"{self._dag}/dagRuns/{quote(run_id, safe='')}"
        self._page = f"{airflow.url}{self._dag}/runs/{quote(run_id, safe='')}"
        self._told: dict[tuple[str, int], tuple[str, int]] = {}
        self.begun = False

    def trigger(self) -> None:
        """Start the run, unless it exists."""
        paused, params = self._airflow.ask("GET", f"{self._dag}/details", itemgetter("is_paused", "params"))
        if paused:
            raise EndError(Exit.REFUSED, f"{self._dag[6:]} is paused in Airflow: unpause it first")
        if unknown := self._conf.keys() - set(params or ()):  # Airflow would ignore them
            raise EndError(Exit.REFUSED, f"{self._dag[6:]} has no parameter {', '.join(sorted(unknown))}")
        body = {"logical_date": None, "dag_run_id": self._run_id, "conf": self._conf}
        self.begun = True  # even if the answer is lost
        try:
            self._airflow.ask("POST", f"{self._dag}/dagRuns", lambda answer: str(answer["dag_run_id"]), body)
            say(f"triggered {self._run_id}: {self._page}")
        except EndError as error:
            self.begun = error.status in (0, 409)
            if error.status != 409:
                raise
            ref = self._airflow.ask("GET", self._run, lambda answer: (answer["conf"] or {}).get("ref"))
            self.begun = bool(ref == self._conf["ref"])
            if not self.begun:
                text = f"{self._run_id} exists and deploys {ref!r}: use another --run-id"
                raise EndError(Exit.REFUSED, text) from None
            say(f"{self._run_id} exists, following it: {self._page}")

    def cancel(self) -> None:
        """Mark the run failed, unless it has ended: its report then takes back what is not confirmed."""
        if self._state() not in ENDED:
            self._airflow.ask("PATCH", self._run, lambda answer: str(answer["state"]), {"state": "failed"})
            say("cancelled: Airflow ends the run, and a switch that is not confirmed is taken back")
        self.begun = True

    def follow(self) -> Exit:
        """Tell each change of each task until the run has ended, then its last line."""
        spoken = time.monotonic()
        while True:
            state, tasks = self._state(), self._tasks()
            for key, news, _, line in sorted(tasks, key=lambda task: task[2]):
                if self._told.get(key) != news and news[0] not in QUIET:
                    spoken = time.monotonic()
                    say(f"{time.strftime('%H:%M:%S')}  {line}")
                self._told[key] = news
            if state in ENDED:
                return self._end(state)
            going = [line for _, (doing, _), _, line in tasks if doing not in (*QUIET, *ENDED, "skipped")]
            now = f"the run is {state}: {' '.join(', '.join(going).split()) or 'no task is at work'}"
            if time.monotonic() >= self._airflow.deadline:
                raise EndError(Exit.TIMED_OUT, f"not over in time: {now}")
            if time.monotonic() - spoken >= SIGN_OF_LIFE_SECONDS:
                spoken = time.monotonic()
                say(f"{time.strftime('%H:%M:%S')}  {now}")
            time.sleep(POLL_SECONDS)

    def _state(self) -> str:
        return self._airflow.ask("GET", self._run, lambda answer: str(answer["state"]))

    def _tasks(self, offset: int = 0) -> list[Task]:
        path = f"{self._run}/taskInstances?limit={PAGE}&offset={offset}"
        page = self._airflow.ask("GET", path, lambda answer: [*map(task_from, answer["task_instances"])])
        return page + self._tasks(offset + PAGE) if len(page) == PAGE else page

    def _end(self, state: str) -> Exit:
        path = f"{self._run}/taskInstances/report/xcomEntries/report?deserialize=true"
        try:
            report = self._airflow.ask("GET", path, lambda answer: dict(answer["value"]))
        except EndError as error:
            unclear = EndError(Exit.UNCLEAR, f"ended ({state}) without a report: {self._page}")
            raise (unclear if error.status == 404 else error) from None
        say(str(report.get("message")))
        code = OUTCOMES.get(str(report.get("outcome")), Exit.UNCLEAR)
        # A run that was marked by hand may contradict its report.
        return Exit.UNCLEAR if code is Exit.GOOD and state != "success" else code


def run_id_for(ref: str, environment: Mapping[str, str]) -> str:
    """Return a run id that is the same in every call of one CI job with one ref; outside CI, a new one."""
    job = environment.get("CI_JOB_ID") or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    if "GITHUB_RUN_ID" in environment:
        job = f"{environment['GITHUB_RUN_ID']}.{environment.get('GITHUB_RUN_ATTEMPT', '1')}"
    # No ref has ~ or :, so two of them never get one id.
    return f"ci-{quote(ref, safe='/+').replace('/', '~').replace('%', ':')[:200]}-{job}"


def param(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; the value is JSON or else text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    env, raw = os.environ, argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXPLANATION, formatter_class=raw)
    add = parser.add_argument
    add("--app", required=True, help="the app, as its file in include/apps/ is named")
    add("--ref", required=True, help="what to deploy: branch, tag or commit id")
    add("--param", type=param, action="append", default=[], help="NAME=VALUE, another one of the DAG's")
    add("--url", default=env.get("AIRFLOW_URL", ""), help="Airflow, such as https://airflow.example.org")
    add("--run-id", help="of the run in Airflow; default: made from ref and CI job")
    add("--timeout", type=int, default=2700, help="seconds to follow the run (default: %(default)s)")
    add("--ca-file", default=env.get("AIRFLOW_CA_FILE"), help="PEM file to trust instead of the system's")
    add("--cancel-on-interrupt", action="store_true", help="cancel the run at a signal, and follow it")
    add("--cancel", action="store_true", help="cancel the run instead of triggering it, and follow it")
    arguments = parser.parse_args(argv)
    host = r"(https://[^/?#@\s]+|http://(localhost|127(\.\d+){3}|\[::1\])(:\d+)?)"
    if not re.fullmatch(host + r"(/[^?#\s]*)?", arguments.url):
        parser.error("--url must be https://, or http:// to this machine, without user, password and query")
    arguments.run_id = arguments.run_id or run_id_for(arguments.ref, env)
    return arguments


def _deploy(arguments: argparse.Namespace) -> int:
    airflow = Airflow(arguments.url, arguments.ca_file, time.monotonic() + arguments.timeout)
    deploy = Deploy(airflow, arguments.app, {**dict(arguments.param), "ref": arguments.ref}, arguments.run_id)
    again = f"if the run has begun, it goes on; to follow it: the same call with --run-id={arguments.run_id}"
    begin = deploy.cancel if arguments.cancel else deploy.trigger
    while True:
        try:
            begin()
            return deploy.follow()
        except Interrupted as signalled:
            if not deploy.begun or not arguments.cancel_on_interrupt or begin == deploy.cancel:
                say(f"detached; {again if deploy.begun else 'nothing was begun'}")
                return 128 + int(signalled.args[0])
            begin = deploy.cancel
        except EndError as error:
            if not deploy.begun or error.code is Exit.UNCLEAR:
                raise
            if error.code is Exit.REFUSED:
                error.code = Exit.UNCLEAR
            raise EndError(error.code, f"{error}; {again}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Deploy as the arguments say; return the exit status."""
    try:
        return _deploy(_arguments(argv))
    except EndError as error:
        say(f"error: {error}")
        return error.code
    except Interrupted as signalled:
        return 128 + int(signalled.args[0])


if __name__ == "__main__":
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & {*dir(signal)}:
        signal.signal(getattr(signal, name), Interrupted.by)
    sys.exit(main())
