"""The agent on this machine as if it were a droplet with jobs: units are files, and systemd is a test's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.call import Call
from agent.droplet import jobs
from agent.droplet.claims import claim, token
from agent.droplet.jobs import end_job, start_job
from agent.droplet.stopping import stop
from agent.protocol import AgentError, Verb

APP = "my_perl_app"
NAME = f"app-{APP}"
UNIT = f"bluegreen-{NAME}-{'a' * 12}"
OLD_UNIT = f"bluegreen-{NAME}-{'b' * 12}"

SYSTEMCTL = """#!/bin/bash
# Knows units by files that are named after them, and hold their properties.
cd "$UNITS" || exit 1
case $1 in
    list-units) compgen -G "${!#}" ;;
    show) cat "$2" 2>/dev/null || echo LoadState=not-found ;;
    stop)
        shift
        mapfile -t there < <(for one; do compgen -G "$one"; done)
        [ -z "${there[*]}" ] || { echo "stop ${there[*]}" >>"$SAID" && rm -f "${there[@]}"; }
        ;;
esac
exit 0
"""
SYSTEMD_RUN = """#!/bin/bash
echo "start" >>"$SAID"
"""
RUNNING = "LoadState=loaded\nActiveState=active\nSubState=running\n"
VERBS = {
    Verb.CLAIM: claim,
    Verb.TOKEN: token,
    Verb.START_JOB: start_job,
    Verb.END_JOB: end_job,
    Verb.STOP: stop,
}


class Machine:
    """The agent on this machine, with directories and a systemd of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said = path / "said"
        for name in ("bin", "units", "run/bluegreen", "var/lib/bluegreen"):
            (path / name).mkdir(parents=True)
        for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            (path / "bin" / name).write_text(text, encoding="utf-8")
            (path / "bin" / name).chmod(0o755)

    def ask(self, verb: Verb, number: int, **request: Any) -> str:
        """Call a verb with a token, and return what systemd was told."""
        self.said.write_text("")
        VERBS[verb](Call.of(verb), {"app": NAME, "token": number, **request})
        return self.said.read_text()

    def refusal(self, verb: Verb, number: int, **request: Any) -> AgentError:
        """Call a verb that must be refused; systemd was told nothing."""
        with pytest.raises(AgentError) as raised:
            self.ask(verb, number, **request)
        assert self.said.read_text() == ""
        return raised.value

    def start(self, number: int, **request: Any) -> str:
        return self.ask(Verb.START_JOB, number, **{**JOB, **request})

    def job(self, unit: str, number: int, program: Any = None) -> None:
        """Let a job be at work."""
        directory = self.path / "run/bluegreen" / unit
        directory.mkdir(exist_ok=True)
        (self.path / "units" / f"{unit}.service").write_text(RUNNING)
        (directory / "token").write_text(f"{number}\n")
        (directory / "program.json").write_text(json.dumps(program, sort_keys=True))

    def jobs(self) -> set[str]:
        return {one.stem for one in (self.path / "units").iterdir()}


def program(**settings: Any) -> dict[str, Any]:
    request = {"app": NAME, "unit": UNIT, **settings}
    return {"steps": [{"verb": "install", "request": request}, {"verb": "load", "request": request}]}


JOB: dict[str, Any] = {"unit": UNIT, "run_id": "run", "timeout": 9, "program": program(a=1)}


def job_machine(path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return such a machine."""
    monkeypatch.setenv("BLUEGREEN_ROOT", str(path))
    monkeypatch.setenv("PATH", f"{path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("UNITS", str(path / "units"))
    monkeypatch.setenv("SAID", str(path / "said"))
    # Here the agent is no zip.
    monkeypatch.setattr(jobs, "Installation", lambda _: SimpleNamespace(path="/none.pyz"))
    return Machine(path)
