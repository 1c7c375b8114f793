"""Whose a droplet is: a run claims it with its token, and the greater of two tokens counts."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from agent.call import Call
from agent.droplet.activated import Activated
from agent.droplet.app_paths import AppPaths
from agent.fields import number
from agent.protocol import AgentError, Code, Json
from agent.system import CallDeadline, remove_tree, write_atomically

# Seconds to wait for a release that is just being started.
CLAIM_WAIT = 10.0
# Seconds after which a file that was sent, and that no job has needed, was sent by a run that is dead.
IN_TRANSIT = 3600.0
LARGEST_TOKEN = 10**18


class Claims:
    """The claims on this droplet for one app.

    :param app: the app's paths.
    """

    def __init__(self, app: AppPaths, deadline: CallDeadline) -> None:
        self.app = app
        self.deadline = deadline

    def newest(self) -> int:
        """Return the greatest token by which the droplet was ever claimed, or 0."""
        return max(token_in(path) for path in self.app.tokens)

    @contextlib.contextmanager
    def held(self, token: int, consequence: str) -> Iterator[None]:
        """Keep others from claiming the droplet, or from starting a release on it, meanwhile.

        :param consequence: what a refusal means, for people.
        :raises AgentError: with the code ``busy`` while a release is being started; with ``claimed`` if a
            later run has claimed the droplet.
        """
        self.app.jobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.app.claim_lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if self.deadline.wait_for(CLAIM_WAIT, lambda: _locked(lock)) is None:
                raise AgentError(Code.BUSY, f"another run is at work on this droplet; {consequence}")
            newest = self.newest()
            if newest > token:
                raise AgentError(
                    Code.CLAIMED,
                    "another run has claimed this droplet since "
                    f"(its token {newest} is newer than {token}); {consequence}",
                )
            yield
        finally:
            os.close(lock)

    def take(self, token: int, kept_unit: str = "") -> None:
        """Make the droplet the run's from now on; the claims are held.

        :param kept_unit: of earlier runs' jobs the one that goes on.
        :raises AgentError: if not even memory takes the token.
        """
        in_memory, on_disk = self.app.tokens
        # First, because their output may fill the file system. No other job starts while the lock is held.
        self._stop_earlier_jobs(token, kept_unit)
        try:
            write_token(in_memory, token)
        except OSError:
            raise AgentError(
                Code.FAILED,
                f"{in_memory} cannot be written; see what fills it: df /run && du -a /run | sort -n | tail",
            ) from None
        with contextlib.suppress(OSError):
            write_token(on_disk, token)

    def _stop_earlier_jobs(self, token: int, kept_unit: str) -> None:
        # An app's id has no hyphen, so no other app's unit begins like this.
        pattern = f"bluegreen-{self.app.name}-*.service"
        listed = self.deadline.run(
            "systemctl", "list-units", "--all", "--full", "--plain", "--no-legend", pattern
        )[1]
        units = [line.split()[0].removesuffix(".service") for line in listed.splitlines() if line.split()]
        earlier = [
            unit for unit in units if unit != kept_unit and token_in(self.app.jobs / unit / "token") < token
        ]
        stop_jobs(self.deadline, self.app, earlier)


def claim(call: Call, request: Json) -> Json:
    """Make this droplet a run's: jobs of earlier runs end, leave nothing half-built, and start no more.

    Request: ``app`` (its name on the droplet), ``token``. Answer: ``started``, the digest of the pairing that
    the service was started with, null if that is not certain. Codes: ``busy`` while a release is being
    started, ``claimed``, ``failed`` if memory takes no token. Killed anywhere, the droplet is claimed or not;
    the next call finishes.
    """
    app = AppPaths.of(call.paths, request)
    claims, token = Claims(app, call.deadline), token_of(request)
    with claims.held(token, "nothing was changed, trigger a new run"):
        claims.take(token)
        remove_leftovers(call.deadline, app)
        return {"started": Activated(app).started()}


def token(call: Call, request: Json) -> Json:
    """Return the greatest token by which this droplet was ever claimed for an app.

    Request: ``app``. Answer: ``token``, 0 if there is none. A kill leaves nothing.
    """
    return {"token": Claims(AppPaths.of(call.paths, request), call.deadline).newest()}


def stop_jobs(deadline: CallDeadline, app: AppPaths, units: list[str]) -> None:
    """Stop jobs, and remove every trace of them."""
    if not units:
        return
    services = [f"{unit}.service" for unit in units]
    # They may be gone by now.
    deadline.run("systemctl", "stop", *services)
    deadline.run("systemctl", "reset-failed", *services)
    for unit in units:
        shutil.rmtree(app.jobs / unit, ignore_errors=True)


def remove_leftovers(deadline: CallDeadline, app: AppPaths, keep: Collection[str] = ()) -> None:
    """Remove what a killed job has left, files and processes; no deploy or build of this app is at work now.

    :param keep: names of files in ``incoming`` that are still needed.
    """
    deadline.run("systemctl", "stop", f"caged-bluegreen-{app.name}-*.service")
    for directory in (app.root, app.releases, app.root / "cache", app.configurations):
        for path in directory.glob("*.partial.*"):
            remove_tree(path)
    # Who begins a job, or claims the droplet, has fetched what was built here, or does not want it.
    for path in app.outgoing.glob("*"):
        remove_tree(path)
    for path in app.incoming.glob("*"):
        # A later run may be sending one right now.
        with contextlib.suppress(FileNotFoundError):
            if path.name not in keep and time.time() - path.lstat().st_ctime > IN_TRANSIT:
                remove_tree(path)


def token_of(request: Json) -> int:
    """Return a request's ``token``.

    :raises AgentError: with the code ``bad_request``.
    """
    return int(number(request, "token", 0, LARGEST_TOKEN))


def token_in(path: Path) -> int:
    """Return the token in a file; 0 if there is none."""
    try:
        found = re.match(r"\s*([0-9]{1,100})\s*$", path.read_text(errors="replace").partition("\n")[0])
    except OSError:
        return 0
    return int(found[1]) if found else 0


def write_token(path: Path, token: int) -> None:
    """Replace a token.

    :raises OSError: if it cannot be written; then nothing is left of the attempt.
    """
    try:
        write_atomically(path, f"{token}\n".encode())
    except OSError:
        with contextlib.suppress(OSError):
            path.with_name(f".{path.name}.new").unlink()
        raise


def _locked(lock: int) -> bool | None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    return True
