"""A running sandbox, for Python: ``with Sandbox.up(directory) as box: …``."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sandbox import lifecycle
from sandbox.errors import SandboxError
from sandbox.layout import Layout

DEFAULT_DIRECTORY = Path("build/sandbox")


class Sandbox:
    """A sandbox that is up.

    :param layout: its files.
    :param owned: whether leaving the ``with`` block takes it down.
    """

    def __init__(self, layout: Layout, *, owned: bool = False) -> None:
        self.layout = layout
        self._owned = owned
        try:
            description = json.loads(layout.description.read_text())
        except FileNotFoundError:
            raise SandboxError(f"no sandbox is up in {layout.directory}: python -m sandbox up") from None
        self.name: str = description["name"]
        self.api_url: str = description["api_url"]
        self.token: str = description["token"]
        self.ca_file: str = description["ca_file"]
        self.gateway: str = description["gateway"]
        # From where this machine connects to the sandbox's by SSH: directly, or through the relay of a delay.
        self.ssh_from = str(ip_network(f"{self.gateway}/30", strict=False))
        self.git_url: str = description["git_url"]
        self.forge_url: str = description["forge_url"]
        self.forge_ssh_url: str = description["forge_ssh_url"]
        self.forge_token: str = description["forge_token"]
        self.forge_known_hosts = Path(description["forge_known_hosts"])
        self.deploy_key = Path(description["deploy_key"])
        self.cpan_url: str = description["cpan_url"]
        self.cpan_https_url: str = description["cpan_https_url"]
        self.private_cpan_url: str = description["private_cpan_url"]
        self.cpan_token: str = description["cpan_token"]
        self.repositories = Path(description["repositories"])

    @classmethod
    def up(
        cls,
        directory: Path | str = DEFAULT_DIRECTORY,
        name: str | None = None,
        say: Callable[[str], None] = print,
        *,
        tied: bool = False,
    ) -> Self:
        """Start a sandbox in a directory, unless it is up already; the ``with`` block takes it down.

        :param tied: whether it also goes down when this process ends without doing so, however it ends.
        """
        layout = Layout.of(directory, name)
        lifecycle.up(layout, say, tied=tied)
        return cls(layout, owned=True)

    @classmethod
    def attach(cls, directory: Path | str = DEFAULT_DIRECTORY) -> Self:
        """Use a sandbox that another process has started, and leave it up."""
        layout = Layout.of(directory)
        if not lifecycle.is_up(layout):
            raise SandboxError(f"no sandbox is up in {layout.directory}: python -m sandbox up")
        return cls(layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owned:
            self.down()

    def down(self) -> None:
        """Stop it and remove its processes, network and disks."""
        lifecycle.down(self.layout)

    def machines(self) -> list[Machine]:
        """Return its machines; droplets without one are not among them."""
        return [Machine(self, shown) for shown in self.droplets() if not shown["phantom"]]

    def droplets(self) -> list[dict[str, Any]]:
        """Return the description of each droplet."""
        return list(self.request("GET", "machines")["machines"])

    def machine(self, name: str) -> Machine:
        """Find a machine by its droplet's name or id, or by one of its addresses.

        :raises SandboxError: no machine matches, or several do.
        """
        return Machine(self, self.request("GET", f"machines/{urllib.parse.quote(name)}")["machine"])

    def fault(self, service: str, kind: str = "status", **fields: Any) -> None:
        """Make one of the sandbox's servers misbehave, until :meth:`clear_faults`.

        :param service: ``api``, ``forge``, ``cpan`` or ``debian``.
        :param kind: and the other fields: see :class:`sandbox.api.faults.Fault`.
        """
        self.request("POST", "faults", {"service": service, "kind": kind, **fields})

    def clear_faults(self) -> None:
        """End all misbehaviour of the servers; the faults of machines stay."""
        self.request("DELETE", "faults")

    def add_phantoms(
        self, count: int, name: str = "phantom", tags: Iterable[str] = (), *, private: bool = True
    ) -> list[int]:
        """Add droplets that exist in the API only; returns their ids.

        :param private: whether they have a private address.
        """
        body = {"count": count, "name": name, "tags": list(tags), "private": private}
        return list(self.request("POST", "phantoms", body)["droplets"])

    def reset_limits(self, **limits: int) -> None:
        """Forget the requests so far, and set rate limits: ``hourly``, ``burst``, ``key_lists``."""
        self.request("POST", "limits", limits)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the sandbox's own controls, which are served beside its API.

        :raises SandboxError: the call was refused, or the sandbox is not up.
        """
        request = urllib.request.Request(  # noqa: S310 (always https)
            f"{self.api_url}/sandbox/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}"},
        )
        # A proxy from the environment cannot reach the sandbox's network.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file)),
        )
        try:
            with opener.open(request, timeout=120) as response:
                return dict(json.loads(response.read() or b"{}"))
        except urllib.error.HTTPError as error:
            raise SandboxError(json.loads(error.read())["message"]) from None
        except OSError as error:
            raise SandboxError(f"the sandbox {self.name} does not answer: {error}") from None


class Machine:
    """A droplet's machine.

    :param box: its sandbox.
    :param shown: the sandbox's description of it.
    """

    def __init__(self, box: Sandbox, shown: dict[str, Any]) -> None:
        self._box = box
        self.droplet_id: int = shown["droplet"]
        self.name: str = shown["name"]
        self.address: str = shown["public_address"] or ""
        self.private_address: str = shown["private_address"] or ""
        self.tags: list[str] = shown["tags"]

    @property
    def status(self) -> str:
        """The droplet's status: ``new``, ``active`` or ``off``."""
        return str(self._show()["status"])

    def run(
        self,
        command: Sequence[str] | str,
        *,
        text: str | bytes = "",
        check: bool = True,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as root, without ssh; a string goes through its shell.

        :param text: what the command reads from its standard input.
        :param check: whether an exit status other than 0 raises.
        :raises SandboxError: the machine is off, or the command failed or took more than ``seconds``.
        """
        from sandbox.machine import enter

        init = self._show()["init"]
        if init is None:
            raise SandboxError(f"{self.name} is off")
        arguments = ["sh", "-c", command] if isinstance(command, str) else list(command)
        try:
            ended = subprocess.run(
                [*enter(init["pid"]), *arguments],
                input=text.encode() if isinstance(text, str) else text,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SandboxError(f"{arguments} on {self.name} took more than {seconds} s") from None
        stdout, stderr = ended.stdout.decode(), ended.stderr.decode()
        done = subprocess.CompletedProcess(ended.args, ended.returncode, stdout, stderr)
        if check and done.returncode:
            raise SandboxError(f"{arguments} on {self.name}: exit status {done.returncode}: {done.stderr}")
        return done

    def wait_ready(self, seconds: float = 90) -> None:
        """Wait until its first boot is over, user data included.

        :raises SandboxError: the first boot takes more than ``seconds``, or the user data has errors.
        """
        deadline = time.monotonic() + seconds
        while self._show()["init"] is None:
            if time.monotonic() > deadline:
                raise SandboxError(f"{self.name} has not started after {seconds} s")
            time.sleep(0.05)
        left = max(1.0, deadline - time.monotonic())
        done = self.run(["cloud-init", "status", "--wait", "--long"], check=False, seconds=left)
        if done.returncode:
            raise SandboxError(f"first boot of {self.name}: {done.stdout.strip()}")

    def power_off(self) -> None:
        """Cut its power; no process in it can react."""
        self._fault("power-off")

    def power_on(self) -> None:
        """Restore its power; its disk is unchanged."""
        self._fault("power-on")

    def cut_link(self) -> None:
        """Pull its cable."""
        self._fault("cut-link")

    def restore_link(self) -> None:
        """Plug its cable in again."""
        self._fault("restore-link")

    def delay(self, milliseconds: int) -> None:
        """Lengthen the round trips of new TCP connections to it."""
        self._fault("delay", str(milliseconds))

    def undelay(self) -> None:
        """Undo :meth:`delay`."""
        self._fault("undelay")

    def fill_disk(self) -> None:
        """Leave no byte free on its disk."""
        self._fault("fill-disk")

    def free_disk(self) -> None:
        """Free what :meth:`fill_disk` took."""
        self._fault("free-disk")

    def kill(self, pattern: str) -> str:
        """Kill its processes whose command line matches; returns their names and pids.

        :raises SandboxError: no process matches.
        """
        return str(self._fault("kill", pattern))

    def change_host_key(self) -> str:
        """Give its sshd another host key; returns the public half."""
        return str(self._fault("change-host-key"))

    def hide_private_address(self) -> None:
        """Leave its private address out of the API's answers."""
        self._fault("hide-private")

    def show_private_address(self) -> None:
        """Undo :meth:`hide_private_address`."""
        self._fault("show-private")

    def _fault(self, name: str, argument: str = "") -> object:
        path = f"machines/{self.droplet_id}/faults"
        return self._box.request("POST", path, {"fault": name, "argument": argument})["result"]

    def _show(self) -> dict[str, Any]:
        return dict(self._box.request("GET", f"machines/{self.droplet_id}")["machine"])
