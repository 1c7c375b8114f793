"""``python3 -m hosting.sandbox.start``: be the sandbox of the profile `sandbox`, until a signal ends it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import requests
import yaml

from demo.app_settings import SSH_KEY, app_settings
from hosting.sandbox.shared import ACCOUNT, APP, AUTHORITY, CONNECTIONS, DIRECTORY, KEY
from sandbox import Sandbox, SandboxError
from sandbox.processes import cgroup_roots, run
from sandbox.sample_app import build_repository

SANDBOX = Path("/var/lib/bluegreen-sandbox")


def main() -> int:
    """Start the sandbox, share its addresses with Airflow, and wait; return the exit status."""
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        prepare()
        with Sandbox.up(SANDBOX) as box:
            join_wire(f"bgs{box.gateway.split('.')[2]}", box.gateway)
            share(box, int(os.environ["AIRFLOW_UID"]))
            # Its health check asks for this, so it comes last.
            build_repository(box.repositories / f"{APP}.git")
            print(f"the sandbox is up at {box.gateway}")
            signal.sigwait(signals)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    return 0


def prepare() -> None:
    """Make of the container what systemd-nspawn needs.

    :raises SandboxError: if the container may not do that.
    """
    # The machines' hardware addresses are made from it.
    run(["systemd-machine-id-setup"])
    # The engine mounts them read-only; the machines' systemd keeps its units there.
    for hierarchy in cgroup_roots():
        run(["mount", "-o", "remount,bind,rw", str(hierarchy)])


def join_wire(bridge: str, gateway: str) -> None:
    """Put the container's interface into the machines' bridge: they are on the containers' network then.

    :raises SandboxError: if no interface is on the machines' network.
    """
    network = gateway.rpartition(".")[0] + "."
    for link in json.loads(run(["ip", "-json", "-4", "address", "show"])):
        name = link["ifname"]
        if name != bridge and any(each["local"].startswith(network) for each in link["addr_info"]):
            run(["ip", "address", "flush", "dev", name])
            run(["ip", "link", "set", "dev", name, "master", bridge])
            return
    raise SandboxError(
        f"this container is not on a network {network}0/24, so Airflow cannot reach its machines"
    )


def share(box: Sandbox, reader: int) -> None:
    """Write what Airflow has to know: a key, the API's authority, address and token, the app's file.

    :param reader: the user that Airflow's containers run as.
    """
    apps = DIRECTORY / "apps"
    apps.mkdir(exist_ok=True)
    key = DIRECTORY / KEY
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", SSH_KEY, "-f", key], check=True)
        os.chown(key, reader, -1)
    answer = requests.post(
        f"{box.api_url}/v2/account/keys",
        json={"name": SSH_KEY, "public_key": key.with_suffix(".pub").read_text().strip()},
        headers={"Authorization": f"Bearer {box.token}"},
        verify=box.ca_file,
        timeout=10,
    )
    answer.raise_for_status()
    shutil.copyfile(box.ca_file, DIRECTORY / AUTHORITY)
    account = DIRECTORY / ACCOUNT
    account.write_text(json.dumps({"host": box.api_url, "password": box.token}))
    settings = {**app_settings(APP, f"{box.git_url}/{APP}.git"), "connections": CONNECTIONS}
    # The containers of Airflow have addresses of this network.
    settings["fleet"]["ssh_from"] = [str(ip_network(f"{box.gateway}/24", strict=False))]
    (apps / f"{APP}.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))


if __name__ == "__main__":
    sys.exit(main())
