"""Activating a release: the service changes hands, and the release has to prove that it is healthy."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent.call import Call
from agent.droplet.claims import Claims, token_in
from agent.droplet.health import Service, problem_of
from agent.droplet.jobs import Job
from agent.fields import REVISION, number, text
from agent.protocol import AgentError, Code, Json
from agent.system import remove_tree, write_atomically

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What is shown of an unhealthy app's last words: its lines, and their bytes.
LAST_LINES, LAST_BYTES = 20, 1 << 16
# Seconds for journald to read what an app has written.
SYNC_SECONDS = 10


def activate(call: Call, request: Json) -> NoReturn:
    """Let an app's service run a release, and wait until it is healthy; otherwise go back to another one.

    It is the end of a job: it writes what it does, and ends with status 0 if the release is healthy. Releases
    that are not needed any more are removed then.

    Request: ``app``, ``unit`` (the job's), ``revision``, ``kept`` (a revision that stays, or an empty text),
    ``keep`` (how many releases stay besides), ``unit_text`` (the service's unit), and how the service is
    asked: ``address``, ``port``, ``path``, ``host``, ``https``, ``statuses``, ``healthy_threshold``,
    ``timeout``. Answer: none. Codes: ``claimed``, ``unhealthy``, ``failed``. Killed anywhere, the service
    runs one whole release or the other; the next call finishes.
    """
    os.environ["PATH"] = PATH
    activation = Activation.of(call, request)
    try:
        activation.run()
        activation.prune()
    except OSError as error:
        raise activation.failed("the release cannot be activated", str(error)) from None
    sys.exit(0)


@dataclass(frozen=True)
class Activation:
    """The activation of one release.

    :param kept: a revision that stays on the droplet, and is the first to go back to.
    :param keep: how many healthy releases stay besides.
    """

    job: Job
    claims: Claims
    service: Service
    revision: str
    kept: str
    keep: int
    unit_text: str

    @classmethod
    def of(cls, call: Call, request: Json) -> Activation:
        """Read it from a request.

        :raises AgentError: with the code ``bad_request``.
        """
        job = Job.of(call, request)
        return cls(
            job,
            Claims(job.app, call.deadline),
            Service.of(request),
            text(request, "revision", REVISION),
            text(request, "kept", f"({REVISION})?"),
            int(number(request, "keep", 1, 1000)),
            text(request, "unit_text", r"[^\x00]{1,100000}"),
        )

    @property
    def root(self) -> Path:
        """The app's directory."""
        return self.job.app.root

    def run(self) -> None:
        """Start the release, and wait until it is healthy.

        :raises AgentError: if it is not; then the droplet runs another release, or none.
        """
        with self._held("another run has claimed this droplet; nothing was activated"):
            self._install_unit()
            fallback = self._fallback()
            self._start(self.revision)
        say(f"waiting for {self.service.url}")
        if problem := problem_of(self.service):
            last_words(self.job.app.service)
            timeout = self.service.timeout
            problem = " ".join(problem.split())
            self._give_up(
                f"the app was started but did not become healthy within {timeout:g} s: {problem}", fallback
            )
        (self.root / "activated" / self.revision).touch()

    @contextlib.contextmanager
    def _held(self, refusal: str) -> Iterator[None]:
        """Hold the claims while the service changes hands; other runs wait.

        :raises AgentError: with this refusal, if another run has claimed the droplet.
        """
        with contextlib.ExitStack() as stack:
            try:
                token = token_in(self.job.directory / "token")
                stack.enter_context(self.claims.held(token, ""))
            except AgentError:
                raise AgentError(Code.CLAIMED, refusal) from None
            yield

    def _install_unit(self) -> None:
        service = self.job.app.service
        path = self.claims.app.paths.units / service
        wanted = self.unit_text.encode()
        if not path.is_file() or path.read_bytes() != wanted:
            try:
                write_atomically(path, wanted, 0o644)
            except OSError as error:
                raise self.failed(f"cannot install the unit {service}", error.strerror or "") from None
        # Not only when it was just written: a run before this one may have been killed here.
        if _output("systemctl", "show", "--property=NeedDaemonReload", "--value", service)[1] == "yes":
            self._attempt(f"cannot load {service}", "systemctl", "daemon-reload")
        # Enabling reloads systemd's configuration, which takes its time.
        if _output("systemctl", "is-enabled", "--quiet", service)[0] != 0:
            self._attempt(f"cannot enable {service}", "systemctl", "enable", "--quiet", service)

    def _fallback(self) -> str:
        """Return the release that a rollback goes to, or else the last one that was healthy, or nothing."""
        found = [name for name in self.activated() if name != self.revision]
        return self.kept if self.kept in found else next(iter(found), "")

    def _start(self, revision: str) -> None:
        new, service = self.root / "current.new", self.job.app.service
        new.unlink(missing_ok=True)
        new.symlink_to(f"releases/{revision}")
        new.replace(self.root / "current")
        self._attempt(f"cannot start {service}", "systemctl", "restart", service)

    def _give_up(self, why: str, fallback: str) -> NoReturn:
        """Leave the droplet with a release that can take traffic back, if there is one."""
        with self._held(f"{why} (another run has claimed this droplet, so nothing was done about that)"):
            if fallback:
                self._start(fallback)
                raise AgentError(Code.UNHEALTHY, f"{why} (this droplet runs {fallback[:12]} again)")
            _output("systemctl", "stop", self.job.app.service)
            (self.root / "current").unlink(missing_ok=True)
            raise AgentError(Code.UNHEALTHY, why)

    def _attempt(self, what: str, *command: str) -> None:
        """Run a program.

        :raises AgentError: with the last line that it wrote, if it fails.
        """
        status, output = _output(*command)
        if output:
            say(output)
        if status != 0:
            raise self.failed(what, output)

    def failed(self, what: str, output: str) -> AgentError:
        """Return why something failed. Some programs do not name a full disk as their reason."""
        disk = os.statvfs(self.root)
        is_full = disk.f_bavail * disk.f_frsize < 1 << 20 or (disk.f_files and not disk.f_favail)
        if is_full or os.strerror(errno.ENOSPC) in output:
            return AgentError(Code.FAILED, f"{what}: No space left on the disk of {self.root}")
        lines = [line for line in output.splitlines() if line.strip()]
        return AgentError(Code.FAILED, f"{what}: {lines[-1] if lines else 'no reason given'}")

    def activated(self) -> list[str]:
        """Return the releases that were healthy once, the latest activation first."""
        return [name for name in _by_age(self.root / "activated") if (self.root / "releases" / name).is_dir()]

    def prune(self) -> None:
        """Remove releases, and installed dependencies, that are not needed any more.

        Failed releases do not count; the latest of them is kept for whoever wants to look at it. Nor does the
        one that a rollback goes back to: later ones may have been healthy here, and rejected all the same.
        """
        healthy = self.activated()
        failed = [name for name in _by_age(self.root / "releases") if not self._was_healthy(name)]
        old = [name for name in healthy[self.keep :] if name != self.kept] + failed[1:]
        for name in old:
            say(f"removing the release {name}")
            (self.root / "activated" / name).unlink(missing_ok=True)
            # Renamed first: what is half removed must not look like a release.
            partial = self.root / "releases" / f"{name}.partial.old"
            (self.root / "releases" / name).rename(partial)
            remove_tree(partial)
        for name in _by_age(self.root / "cache")[self.keep :]:
            remove_tree(self.root / "cache" / name)

    def _was_healthy(self, name: str) -> bool:
        return (self.root / "activated" / name).exists()


def last_words(service: str) -> None:
    """Write the last lines of a service. On a busy machine journald reads first what the app wrote."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["journalctl", "--sync"], timeout=SYNC_SECONDS, capture_output=True, check=False)
    command = ["journalctl", f"--unit={service}", f"--lines={LAST_LINES}", "--output=cat", "--no-pager"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as journal:
        assert journal.stdout is not None  # noqa: S101
        # One message may have many megabytes.
        said = journal.stdout.read(LAST_BYTES)
        journal.kill()
    # The last line is ended: the cause stands on the next one.
    ending = b"" if not said or said.endswith(b"\n") else b"\n"
    sys.stdout.flush()
    sys.stdout.buffer.write(said + ending)
    sys.stdout.flush()


def say(line: str) -> None:
    """Write a line into the job's log at once."""
    print(line, flush=True)


def _output(*command: str) -> tuple[int, str]:
    """Run a program to its end, which the job's own limit ensures; return its status and what it wrote."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace").strip()


def _by_age(directory: Path) -> list[str]:
    """Return the names in a directory, the latest first."""
    return [path.name for path in sorted(directory.iterdir(), key=_changed, reverse=True)]


def _changed(path: Path) -> float:
    return path.lstat().st_mtime
