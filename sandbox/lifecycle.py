"""A sandbox's life: up, down, and cleaning up after one that died."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox import image, network
from sandbox.disk import mounted_sandboxes, unmount_below
from sandbox.errors import SandboxError
from sandbox.host_limits import allow_many_machines
from sandbox.layout import Layout
from sandbox.processes import ProcessId, kill_cgroup

PROPAGATED = Path("/run/systemd/nspawn/propagate")
START_SECONDS, STOP_SECONDS = 20, 60


def up(layout: Layout, say: Callable[[str], None] = print, *, tied: bool = False) -> None:
    """Start a sandbox; one that is already up is left alone.

    What sandboxes have left whose server was killed, wherever they are, is removed.

    :param tied: whether it goes down when the calling process ends.
    :raises SandboxError: this machine cannot run a sandbox, or the server does not start.
    """
    _check_machine()
    allow_many_machines()
    image.ensure(say=say)
    layout.directory.mkdir(parents=True, exist_ok=True)
    with _lock(layout):
        if is_up(layout):
            return
        clean(layout)
        _clean_dead()
        for directory in (layout.machines, layout.repositories):
            directory.mkdir(exist_ok=True)
        with layout.log.open("wb") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "sandbox",
                    "serve",
                    "--dir",
                    str(layout.directory),
                    "--name",
                    layout.name,
                    *(("--parent", str(os.getpid())) if tied else ()),
                ],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not layout.description.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                last = layout.log.read_text(errors="replace").strip().rpartition("\n")[2]
                clean(layout)
                raise SandboxError(f"the sandbox's server does not start: {last}")
            time.sleep(0.02)


def down(layout: Layout) -> bool:
    """Stop a sandbox and remove all of it except its log and repositories.

    :return: whether there was anything to stop or remove.
    """
    if not layout.directory.is_dir():
        return False
    with _lock(layout):
        server = _server(layout)
        if server and server.signal(signal.SIGTERM) and not server.wait_gone(STOP_SECONDS):
            server.kill()
        existed = server is not None or layout.machines.exists()
        clean(layout)
    return existed


def is_up(layout: Layout) -> bool:
    """Return whether the sandbox's server runs and is ready."""
    server = _server(layout)
    return server is not None and server.alive() and layout.description.exists()


def clean(layout: Layout) -> None:
    """Remove the leftovers of a sandbox, and only its own: processes, mounts, bridge, rules, files."""
    server = _server(layout)
    if server:
        server.kill()
    for record in layout.machines.glob("*/processes.json"):
        for process in map(ProcessId.from_json, json.loads(record.read_text())):
            process.kill()
        # systemd-nspawn makes this directory, and leaves it behind if it is killed.
        with contextlib.suppress(OSError):
            (PROPAGATED / record.parent.name).rmdir()
    original = _original(layout)
    kill_cgroup(original.cgroup)
    unmount_below(layout.directory)
    network.remove(original.directory)
    for directory in (layout.machines, layout.forge, layout.cpan):
        shutil.rmtree(directory, ignore_errors=True)
    for file in (layout.description, layout.server, layout.certificate_authority):
        file.unlink(missing_ok=True)


def _clean_dead() -> None:
    """Clean up after all sandboxes whose server does not run any more.

    pytest renames the directory of an old run before it removes it, and cannot remove what is mounted there.
    """
    for directory in network.owners() | mounted_sandboxes():
        other = Layout.of(directory)
        server = _server(other)
        # The directory of a sandbox in some container is not to be seen from here.
        if directory.is_dir() and (server is None or not server.alive()):
            clean(other)


def _server(layout: Layout) -> ProcessId | None:
    try:
        return ProcessId.from_json(json.loads(layout.server.read_text()))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def _original(layout: Layout) -> Layout:
    """Return the layout by which a dead sandbox was started; its directory may have been renamed since."""
    try:
        original = Layout.of(json.loads(layout.server.read_text())["directory"])
    except (FileNotFoundError, ValueError, KeyError):
        return layout
    # Another one may be up there by now.
    server = _server(original)
    return layout if server and server.alive() else original


def _check_machine() -> None:
    if sys.platform != "linux":
        raise SandboxError("the sandbox needs Linux")
    if os.geteuid() != 0:
        raise SandboxError("the sandbox needs root to make and start machines")
    for tool in ("systemd-nspawn", "ip", "nsenter", "git"):
        if not shutil.which(tool):
            raise SandboxError(f"{tool} is not installed: run scripts/install-system-packages as root")


@contextmanager
def _lock(layout: Layout) -> Iterator[None]:
    with layout.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
