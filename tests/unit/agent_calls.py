"""Calls of the agent that start within milliseconds, for tests that make hundreds of them.

Each call is a process of its own, as on a machine, with the same file, command line and environment. It is
forked from a server that has imported the agent already, because the imports are most of what a call takes a
processor. A version of the agent that a test has edited is imported by the call itself.

This module is the server's program, too, so that it imports nothing but Python's library.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import NoReturn

# Modules of the agent that import all others which a proxy's verbs need.
PRELOADED = (
    "agent.facts.verb",
    "agent.installation",
    "agent.proxy.locking",
    "agent.proxy.moving",
    "agent.proxy.reading",
)


def call(
    command: Sequence[str], environment: Mapping[str, str], seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run the agent as ``subprocess.run`` does, and return what it wrote.

    :param command: the interpreter, the agent's file, and its arguments.
    :raises TimeoutError: it took longer than ``seconds``.
    """
    with (
        tempfile.TemporaryFile() as request,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        request.write(json.dumps([list(command[1:]), dict(environment)]).encode())
        request.flush()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                ours.settimeout(seconds)
                files = [one.fileno() for one in (request, out, err, theirs)]
                socket.send_fds(_server(), [b"call"], files)
            with ours.makefile() as answers:
                pid = int(answers.readline())
                try:
                    status = int(answers.readline())
                except TimeoutError:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    raise
        written = []
        for file in (out, err):
            file.seek(0)
            written.append(file.read().decode())
    return subprocess.CompletedProcess(command, status, *written)


@cache
def _server() -> socket.socket:
    """Start the server, which ends with this process."""
    from bluegreen.agent_bundle import agent_bundle

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    directory = tempfile.TemporaryDirectory()
    # The agent takes a process for one of its own if the command line names its file.
    archive = f"{directory.name}/{agent_bundle().name}"
    with open(archive, "wb") as file:  # noqa: PTH123
        file.write(agent_bundle().data)
    with theirs:
        command = [sys.executable, __file__, archive, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def stop() -> None:
        ours.close()
        process.wait()
        directory.cleanup()

    atexit.register(stop)
    return ours


def _serve(archive: str, control: socket.socket) -> None:
    """Answer calls until nobody can make one any more."""
    sys.path.insert(0, archive)
    for name in PRELOADED:
        import_module(name)
    sys.path.remove(archive)
    agent = _contents(archive)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        message, files, _, _ = socket.recv_fds(control, 16, 4)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _attend(agent, *files)
        for file in files:
            os.close(file)


def _attend(agent: bytes, request: int, out: int, err: int, answers: int) -> NoReturn:
    """Make one call, and report its process id and exit status, a line each."""
    pid = os.fork()
    if pid == 0:
        os.close(answers)
        _become(agent, request, out, err)
    os.write(answers, f"{pid}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(BrokenPipeError):
        os.write(answers, f"{status}\n".encode())
    os._exit(0)


def _become(agent: bytes, request: int, out: int, err: int) -> NoReturn:
    """Be the agent, to the interpreter's end."""
    os.lseek(request, 0, os.SEEK_SET)
    with os.fdopen(request) as file:
        command, environment = json.load(file)
    for source, target in ((out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    if _contents(command[0]) != agent:
        # It is a version that a test has edited.
        for name in [name for name in sys.modules if name.partition(".")[0] == "agent"]:
            del sys.modules[name]
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")
    sys.exit()


def _contents(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


if __name__ == "__main__":
    _serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
