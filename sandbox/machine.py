"""One machine: a systemd-nspawn container with its own disk, cable and systemd."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from sandbox import network
from sandbox.disk import MEBIBYTES_PER_GIGABYTE, SMALLEST_MEBIBYTES, Disk
from sandbox.errors import SandboxError
from sandbox.processes import JOIN_AND_EXEC, ProcessId, kill_cgroup, make_cgroups, run
from sandbox.seed import Seed, plant

# systemd-nspawn's exit status when the machine asks for a restart.
REBOOT_STATUS = 133
SYSTEMD_POWEROFF = signal.SIGRTMIN + 4
SYSTEMD_REBOOT = signal.SIGRTMIN + 5

log = logging.getLogger(__name__)


class Machine:
    """A machine of one sandbox. Its methods block, and are safe to call from several threads.

    :param name: short and unique on this host, since interface names have 15 characters at most.
    :param directory: holds its disk, log and process ids.
    :param bridge: the sandbox's bridge.
    :param cgroup: the control group of all its processes, below each hierarchy's root.
    :param stopped: called when the machine has stopped, unless :meth:`power_off` stopped it.
    """

    def __init__(
        self, name: str, directory: Path, bridge: str, cgroup: str, stopped: Callable[[], None]
    ) -> None:
        self.name = name
        self.directory = directory
        self.disk = Disk(directory)
        self.init: ProcessId | None = None
        self.link_is_up = True
        self.cgroup = cgroup
        self._bridge = bridge
        self._stopped = stopped
        self._supervisor: ProcessId | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._hostname = name
        self._rules: str | None = None
        self._lock = threading.RLock()

    @property
    def interface(self) -> str:
        """The host's end of the machine's cable."""
        return f"vb-{self.name}"

    @property
    def running(self) -> bool:
        """Whether it has power and its systemd runs."""
        return self.init is not None and self.init.alive()

    def install(self, image: Path, seed: Seed, gigabytes: int) -> None:
        """Give it a disk made from an image, and write its seed there.

        :param gigabytes: the disk size of the droplet's size; the real disk is smaller, and in memory.
        """
        self._hostname = seed.hostname
        self.disk.mount(image, max(SMALLEST_MEBIBYTES, MEBIBYTES_PER_GIGABYTE * gigabytes))
        plant(self.disk.root, seed)

    def power_on(self, seconds: float = 15) -> None:
        """Start it; returns when its systemd runs, which is before its sshd answers.

        :raises SandboxError: the machine did not start within ``seconds``.
        """
        with self._lock:
            if self.running:
                return
            process = self._spawn()
            supervisor = ProcessId.of(process.pid)
            deadline = time.monotonic() + seconds
            while not (init := _container_init(process.pid)):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    process.wait()
                    raise SandboxError(f"machine {self._hostname} does not start: {self._last_words()}")
                time.sleep(0.01)
            self._process, self._supervisor, self.init = process, supervisor, init
            self._record()
            threading.Thread(target=self._watch, args=(process,), daemon=True).start()
            if not self.link_is_up:
                network.set_link(self.interface, up=False)
            if self._rules is not None:
                network.apply_filter(init.pid, self._rules)

    def power_off(self) -> None:
        """Cut its power: no process in it can react. Its disk stays."""
        with self._lock:
            self._process = None
            for process, grace in ((self.init, 0.0), (self._supervisor, 5.0)):
                if process and not (grace and process.wait_gone(grace)):
                    process.kill()
            kill_cgroup(self.cgroup)
            self.init = self._supervisor = None

    def shutdown(self, seconds: float = 30) -> bool:
        """Ask its systemd to stop; ``False`` if it has not after ``seconds``."""
        init = self.init
        if init is None or not init.signal(SYSTEMD_POWEROFF):
            return True
        return init.wait_gone(seconds)

    def reboot(self, seconds: float = 60) -> bool:
        """Ask its systemd to restart; ``False`` if it does not run again after ``seconds``."""
        init = self.init
        if init is None or not init.signal(SYSTEMD_REBOOT):
            return False
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.running and self.init != init:
                return True
            time.sleep(0.05)
        return False

    def cut_link(self) -> None:
        """Pull its cable: packets vanish in both directions."""
        self.link_is_up = False
        if self.running:
            network.set_link(self.interface, up=False)

    def restore_link(self) -> None:
        """Plug its cable in again."""
        self.link_is_up = True
        if self.running:
            network.set_link(self.interface, up=True)

    def set_filter(self, rules: str | None) -> None:
        """Let only this pass, now and whenever it boots again; everything if ``None``.

        :param rules: see :func:`sandbox.network.filter_rules`.
        """
        with self._lock:
            changed, self._rules = rules != self._rules, rules
            if changed and self.init is not None and self.running:
                network.apply_filter(self.init.pid, rules or network.NO_FILTER)

    def execute(self, *command: str) -> str:
        """Run a command inside, as root, and return its output.

        :raises SandboxError: the machine is off, or the command failed.
        """
        if self.init is None or not self.running:
            raise SandboxError(f"{self._hostname} is off")
        return run([*enter(self.init.pid), *command])

    def destroy(self) -> None:
        """Stop it and remove its disk and files."""
        with self._lock:
            self.power_off()
            self.disk.remove()

    def _spawn(self) -> subprocess.Popen[bytes]:
        groups = make_cgroups(self.cgroup)
        nspawn = [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--settings=no",
            "--link-journal=no",
            "--resolv-conf=off",
            "--timezone=off",
            f"--machine={self.name}",
            f"--hostname={self._hostname}",
            f"--directory={self.disk.root}",
            "--network-veth",
            f"--network-bridge={self._bridge}",
            "--boot",
        ]
        command = ["/bin/sh", "-c", JOIN_AND_EXEC, "sh", *(f"{group}/cgroup.procs" for group in groups), "--"]
        with (self.directory / "console.log").open("ab") as log:
            return subprocess.Popen(
                [*command, *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        status = process.wait()
        with self._lock:
            if self._process is not process:
                return
            self._process = self.init = self._supervisor = None
            if status == REBOOT_STATUS:
                try:
                    self.power_on()
                except SandboxError as error:
                    log.error("restart: %s", error)
                else:
                    return
        self._stopped()

    def _record(self) -> None:
        processes = [process.to_json() for process in (self._supervisor, self.init) if process]
        (self.directory / "processes.json").write_text(json.dumps(processes))

    def _last_words(self) -> str:
        text = (self.directory / "console.log").read_text(errors="replace").strip()
        return text.rpartition("\n")[2] or "no output"


def enter(init: int) -> list[str]:
    """Return the command line that runs what is appended to it inside a machine.

    :param init: the host's pid of the machine's systemd.
    """
    environment = [
        "env",
        "-i",
        "HOME=/root",
        "LANG=C.UTF-8",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    ]
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
    return ["nsenter", f"--target={init}", *namespaces, "--", *environment]


def _container_init(supervisor: int) -> ProcessId | None:
    """Find the container's pid 1 among the children of its systemd-nspawn."""
    for task in Path(f"/proc/{supervisor}/task").glob("*/children"):
        try:
            children = task.read_text().split()
            for child in children:
                status = Path(f"/proc/{child}/status").read_text()
                name = Path(f"/proc/{child}/comm").read_text().strip()
                namespaces = [line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")]
                if name == "systemd" and namespaces and namespaces[0][-1] == "1":
                    return ProcessId.of(int(child))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None
