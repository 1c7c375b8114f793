"""Activating a release: the service changes hands, and the release has to prove that it is healthy.

The units of the app's processes and timers are written with the service's. They are started when the
release is live.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent.call import Call
from agent.droplet.activated import Activated, Pairing, Record
from agent.droplet.app_paths import AppPaths
from agent.droplet.health import Service, problem_of
from agent.droplet.job_log import say
from agent.droplet.jobs import Job
from agent.droplet.journal import last_lines
from agent.droplet.messages import ServiceRecord
from agent.droplet.process_units import UnitFiles, units_of
from agent.droplet.processes import Processes, require_usable
from agent.droplet.reserve import is_full, no_space
from agent.fields import number, text
from agent.processes import LEFTOVER_STOP
from agent.protocol import AgentError, Code, Json
from agent.release_name import DIGEST, RELEASE, revision_of
from agent.system import CallDeadline, write_atomically


def activate(call: Call, request: Json) -> Json:
    """Let an app's service run a release, and wait until it is healthy; otherwise go back to another one.

    Releases and configurations that are not needed any more are removed then.

    Request: ``messages.ActivateRequest``. Answer: ``messages.Started``. Codes: ``claimed``, ``unhealthy``,
    ``failed``.
    Killed anywhere, the service runs one release with its own configuration and command, or another one with
    those; the next call finishes.
    """
    activation = Activation.of(call, request)
    UnitFiles(activation.job.app).require_own()
    return activation.run()


@dataclass(frozen=True)
class Activation:
    """The activation of one release.

    :param service: how it is asked, see ``messages.ServiceRecord``.
    :param kept: digest of the pairing that was confirmed here last: it stays, and is the first to go back to.
    :param keep: how many healthy releases stay besides.
    """

    job: Job
    deadline: CallDeadline
    service: Json
    pairing: Pairing
    kept: str
    keep: int

    @classmethod
    def of(cls, call: Call, request: Json) -> Activation:
        """Read it from a request.

        :raises AgentError: with the code ``bad_request``.
        """
        pairing = Pairing(
            text(request, "release", RELEASE),
            text(request, "configuration", DIGEST),
            text(request, "unit_text", r"[^\x00]{1,100000}"),
            units_of(AppPaths.of(call.paths, request).name, request),
        )
        service = {key: request.get(key) for key in ServiceRecord.__annotations__}
        Service.of({**service, "revision": revision_of(pairing.release)})
        return cls.again(call, request, Record(pairing, service))

    @classmethod
    def again(cls, call: Call, request: Json, record: Record) -> Activation:
        """Return the activation of a pairing that is described by its record.

        :raises AgentError: with the code ``bad_request``.
        """
        job = Job.of(call, request)
        kept, keep = text(request, "kept", f"({DIGEST})?"), int(number(request, "keep", 1, 1000))
        return cls(job, call.deadline, record.service, record.pairing, kept, keep)

    @property
    def root(self) -> Path:
        """The app's directory."""
        return self.job.app.root

    @property
    def activated(self) -> Activated:
        """What was healthy on this droplet."""
        return Activated(self.job.app)

    def run(self, *, is_urgent: bool = False) -> Json:
        """Start the release, wait until it is healthy, and remove what is not needed any more.

        An idle droplet runs no processes, unless they could not be moved, or a hand has started some.

        :param is_urgent: whether the web server does not wait until those have ended.
        :return: what was started.
        :raises AgentError: if it is not healthy; then the droplet runs another release, or none.
        """
        # Before anything changes: a run may have died between the confirmation and this mark.
        self.activated.confirm(self.kept)
        self.activated.require(self.pairing)
        require_usable(self.job.app, self.pairing.units, self.deadline)
        leftover, consequence = Processes(self.job, self.deadline), "nothing was activated"
        if is_urgent:
            leftover.ask_to_end(consequence)
        else:
            leftover.stop(consequence=consequence, patience=LEFTOVER_STOP)
        fallback = self.activated.fallback(self.pairing, self.kept)
        with self.job.claimed(self.deadline, "another run has claimed this droplet; nothing was activated"):
            is_new = self._write_units(self.pairing)
            try:
                self._start(self.pairing, is_new)
            except AgentError as error:
                self._go_back(str(error), fallback)
        service = Record(self.pairing, self.service).asked
        say(f"waiting for {service.url}")
        if problem := problem_of(service):
            last_words(self.job.app.service)
            timeout = service.timeout
            problem = " ".join(problem.split())
            why = f"the app was started but did not become healthy within {timeout:g} s: {problem}"
            with self.job.claimed(
                self.deadline, f"{why} (another run has claimed this droplet, so nothing was done about that)"
            ):
                self._go_back(why, fallback)
        self.activated.record(self.pairing, self.service)
        say(f"{self.pairing.release} runs and is healthy")
        self.activated.prune(self.keep, self.kept, self.pairing)
        return self.pairing.as_json

    def _write_units(self, pairing: Pairing) -> bool:
        """Let the droplet's units name a release, its configuration and its commands; False if they did.

        Those of processes and timers replace others, which were stopped or are ending; they are not started
        here.

        :raises AgentError: if they cannot be written; then the service's is the old one.
        """
        path, files = self.job.app.paths.units / self.job.app.service, UnitFiles(self.job.app)
        files.require_own(dict(pairing.units))
        wanted = pairing.unit_text.encode()
        if path.is_file() and path.read_bytes() == wanted and tuple(files.texts().items()) == pairing.units:
            return False
        try:
            self.activated.note_started(None)
            files.replace(dict(pairing.units))
            write_atomically(path, wanted, 0o644)
        except OSError as error:
            raise self._failed(f"cannot install the unit {path.name}", error.strerror or "") from None
        return True

    def _start(self, pairing: Pairing, is_new: bool) -> None:
        """Let the service run what its unit names.

        :param is_new: whether the unit has just been written.
        :raises AgentError: if it does not start.
        """
        service = self.job.app.service
        # Not only when it was just written: a run before this one may have been killed here.
        if (
            is_new
            or _output("systemctl", "show", "--property=NeedDaemonReload", "--value", service)[1] == "yes"
        ):
            self._attempt(f"cannot load {service}", "systemctl", "daemon-reload")
        # Enabling reloads systemd's configuration, which takes its time.
        if _output("systemctl", "is-enabled", "--quiet", service)[0] != 0:
            self._attempt(f"cannot enable {service}", "systemctl", "enable", "--quiet", service)
        self._attempt(f"cannot start {service}", "systemctl", "restart", service)
        self.activated.note_started(pairing)
        # For people, and facts: nothing that runs goes by it.
        new = self.root / "current.new"
        new.unlink(missing_ok=True)
        new.symlink_to(f"releases/{pairing.release}")
        new.replace(self.root / "current")

    def _go_back(self, why: str, fallback: Pairing | None) -> NoReturn:
        """Leave the droplet with what can take traffic back, if there is any; the claims are held."""
        if fallback is None:
            _output("systemctl", "stop", self.job.app.service)
            (self.root / "current").unlink(missing_ok=True)
            raise AgentError(Code.UNHEALTHY, why)
        name = fallback.release[:12]
        try:
            self._start(fallback, self._write_units(fallback))
        except AgentError as error:
            raise AgentError(
                Code.UNHEALTHY, f"{why} (nor does this droplet go back to {name}: {error})"
            ) from None
        raise AgentError(Code.UNHEALTHY, f"{why} (this droplet runs {name} again)")

    def _attempt(self, what: str, *command: str) -> None:
        """Run a program.

        :raises AgentError: with the last line that it wrote, if it fails.
        """
        status, output = _output(*command)
        if output:
            say(output)
        if status != 0:
            raise self._failed(what, output)

    def _failed(self, what: str, output: str) -> AgentError:
        """Return why something failed. Some programs do not name a full disk as their reason."""
        if is_full(self.root, output):
            return AgentError(Code.FAILED, f"{what}: {no_space(self.job.app)}")
        lines = [line for line in output.splitlines() if line.strip()]
        return AgentError(Code.FAILED, f"{what}: {lines[-1] if lines else 'no reason given'}")


def last_words(service: str) -> None:
    """Write the last lines of a service."""
    said = last_lines(f"--unit={service}")
    # The last line is ended: the cause stands on the next one.
    ending = b"" if not said or said.endswith(b"\n") else b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(said + ending)
    sys.stdout.flush()


def _output(*command: str) -> tuple[int, str]:
    """Run a program to its end, which the job's own limit ensures; return its status and what it wrote."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace").strip()
