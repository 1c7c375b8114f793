"""A server of one's own, a droplet here, with Airflow installed by ``hosting/systemd/install``."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from demo.airflow_settings import ROOT
from demo.client import AirflowClient
from demo.environment import APP, DemoEnvironment
from sandbox import Machine
from sandbox.network import FORGE_HTTP, Network
from tests.sandbox.droplets import Shop
from tests.waiting import until

# Where somebody has put the project's files; Airflow does not run from there.
SOURCE = "/srv/bluegreen"
CONFIG = "/etc/bluegreen"
PARTS = ("api-server", "scheduler", "dag-processor")
INSTALL_SECONDS = 400
RUN_SECONDS = 180


@contextmanager
def way_to_the_forge(machine: Machine, gateway: str) -> Iterator[None]:
    """Let this machine reach the sandbox's forge, which refuses machines because droplets fetch nothing."""
    bridge = Network(int(gateway.split(".")[2])).bridge
    rule = ["INPUT", "-i", bridge, "-s", machine.address, "-d", gateway]
    rule += ["-p", "tcp", "--dport", str(FORGE_HTTP), "-j", "ACCEPT"]
    subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)


@dataclass(frozen=True)
class PlainHost:
    """The server.

    :param shop: whose key logs in to it.
    :param mirror: where it fetches packages from.
    """

    shop: Shop
    machine: Machine
    mirror: str

    def copy_project(self) -> None:
        """Put the project's files there, and tell apt and pip of the mirror."""
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        files = [name for name in names.split("\0") if name and (ROOT / name).is_file()]
        packed = subprocess.run(["tar", "-cz", *files], cwd=ROOT, capture_output=True, check=True).stdout
        self._ssh(f"mkdir -p {SOURCE} && tar -xz -C {SOURCE} --no-same-owner", packed)
        self.write("/etc/apt/sources.list", f"deb [trusted=yes] {self.mirror}/debs ./\n")
        address = self.mirror.partition("//")[2].partition(":")[0]
        pip = f"[global]\nno-index = true\nfind-links = {self.mirror}/wheels\ntrusted-host = {address}\n"
        self.write("/etc/pip.conf", pip)

    def install(self) -> str:
        """Run the installer; return what it printed."""
        return self.run(f"{SOURCE}/hosting/systemd/install", INSTALL_SECONDS)

    def run(self, command: str, seconds: float = 60, *, check: bool = True) -> str:
        """Run a command as root; return what it printed."""
        done = self.machine.run(command, seconds=seconds, check=False)
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file."""
        self.machine.run(["tee", path], text=text)

    def read(self, path: str) -> str:
        """Return a file's text."""
        return self.run(f"cat {path}")

    def show(self, part: str, name: str) -> str:
        """Return what systemd says about one of Airflow's services."""
        return self.run(f"systemctl show --value --property={name} bluegreen-airflow-{part}.service").strip()

    def memory_mib(self) -> dict[str, float]:
        """Return the memory of each service's processes, shared pages divided among those that share them."""
        found = {}
        for unit in [f"bluegreen-airflow-{part}" for part in PARTS] + ["postgresql@15-main"]:
            group = self.run(f"systemctl show --value --property=ControlGroup {unit}").strip()
            pids = self.run(
                f"cat /sys/fs/cgroup{group}/cgroup.procs /sys/fs/cgroup/systemd{group}/cgroup.procs",
                check=False,
            ).split()
            files = " ".join(f"/proc/{pid}/smaps_rollup" for pid in pids)
            found[unit] = int(self.run(f"cat {files} | awk '/^Pss:/ {{s += $2}} END {{print s}}'")) / 1024
        return found

    def prepare(self, environment: DemoEnvironment) -> None:
        """Do what the guide says comes after the installation: key, app file, connections."""
        environment.directory.mkdir(parents=True, exist_ok=True)
        key = environment.directory / "id_ed25519"
        for file, path in ((key, "secrets/ssh_key"), (key.with_suffix(".pub"), "ssh_key.pub")):
            file.touch(mode=0o600)
            file.write_text(self.read(f"{CONFIG}/{path}"))
        environment.prepare()
        settings = yaml.safe_load((environment.directory / "apps" / f"{APP}.yaml").read_text())
        settings["fleet"]["ssh_from"] = [f"{self.machine.address}/32"]
        self.write(f"{CONFIG}/apps/{APP}.yaml", yaml.safe_dump(settings, sort_keys=False))
        self.write(f"{CONFIG}/sandbox-ca.pem", Path(environment.sandbox.ca_file).read_text())

    def client(self, url: str) -> AirflowClient:
        """Return the first user's view of Airflow.

        :param url: see :meth:`tunnel`.
        """
        return AirflowClient(url, "admin", self.read(f"{CONFIG}/secrets/admin_password"))

    def connect(self, client: AirflowClient, environment: DemoEnvironment) -> None:
        """Make the connections that docs/install.md names."""
        for name, value in environment.variables().items():
            if not name.startswith("AIRFLOW_CONN_"):
                continue
            fields = json.loads(value)
            kind, extra = fields.pop("conn_type"), fields.pop("extra", {})
            extra.update({"key_file": f"{CONFIG}/secrets/ssh_key"} if "key_file" in extra else {})
            extra.update({"ca_file": f"{CONFIG}/sandbox-ca.pem"} if "ca_file" in extra else {})
            client.connect(name.removeprefix("AIRFLOW_CONN_").lower(), kind, extra, **fields)

    def provision(self, environment: DemoEnvironment) -> None:
        """Make the app's droplets."""
        dag_id = environment.dag_id("provision")
        with self.tunnel() as url:
            client = self.client(url)
            until(lambda: dag_id in client.dag_ids(), f"{dag_id} is there", 60)
            run = client.trigger(dag_id)
            assert client.wait(run, RUN_SECONDS) == "success", client.last_line(run)

    def deploy(self, ref: str) -> str:
        """Deploy as a CI job on the server does; return what it saw.

        :raises AssertionError: the ref is not live and confirmed.
        """
        return self.run(
            f"AIRFLOW_URL=http://127.0.0.1:8080 AIRFLOW_USERNAME=ci"
            f" AIRFLOW_PASSWORD_FILE={CONFIG}/secrets/ci_password"
            f" python3 {SOURCE}/examples/ci/trigger_deploy.py --app {APP} --ref {ref}",
            RUN_SECONDS,
        )

    @contextmanager
    def tunnel(self) -> Iterator[str]:
        """Reach the user interface as its users do; the value is where."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        forward = ["ssh", "-N", "-L", f"127.0.0.1:{port}:127.0.0.1:8080", *self._options()]
        process = subprocess.Popen([*forward, f"root@{self.machine.address}"], stdin=subprocess.DEVNULL)
        try:
            until(lambda: _answers(port), "the tunnel is there")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(10)

    def _ssh(self, command: str, data: bytes) -> None:
        words = ["ssh", *self._options(), f"root@{self.machine.address}", command]
        subprocess.run(words, input=data, check=True, timeout=60)

    def _options(self) -> list[str]:
        strict = [
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]
        return ["-i", str(self.shop.key), "-o", "BatchMode=yes", *strict]


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
