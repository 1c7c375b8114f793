"""Ordering droplets from a sandbox and logging in to them, as a user would."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydo import Client

from sandbox import Machine, Sandbox
from tests.waiting import until

# Seconds for a first boot that installs packages: apt fetches and reads its lists first.
APT_SECONDS = 120


@dataclass
class Shop:
    """Orders droplets.

    :param box: the sandbox to order from.
    :param key: the private key whose public half each droplet gets.
    """

    box: Sandbox
    key: Path

    def client(self) -> Client:
        return Client(
            token=self.box.token, endpoint=self.box.api_url, connection_verify=self.box.ca_file, retry_total=0
        )

    def order(
        self,
        *names: str,
        user_data: str = "",
        tags: tuple[str, ...] = (),
        size: str = "s-1vcpu-1gb",
        image: str = "debian-12-x64",
        beside: Machine | None = None,
    ) -> list[Machine]:
        """Order droplets and wait until they are active.

        :param beside: a machine in whose private network they are to be, instead of in the region's default.
        """
        client = self.client()
        public = self.key.with_suffix(".pub").read_text().strip()
        keys = [each for each in client.ssh_keys.list()["ssh_keys"] if each["public_key"] == public]
        if not keys:
            keys = [client.ssh_keys.create(body={"name": "test", "public_key": public})["ssh_key"]]
        body: dict[str, Any] = {
            "names": list(names),
            "region": "nyc3",
            "size": size,
            "image": image,
            "ssh_keys": [keys[0]["id"]],
            "user_data": user_data,
            "tags": list(tags),
        }
        if beside is not None:
            body["vpc_uuid"] = client.droplets.get(beside.droplet_id)["droplet"]["vpc_uuid"]
        ids = [droplet["id"] for droplet in client.droplets.create(body=body)["droplets"]]
        machines = [self.box.machine(str(droplet)) for droplet in ids]
        until(lambda: all(machine.status == "active" for machine in machines), "all are active")
        return [self.box.machine(str(droplet)) for droplet in ids]

    def order_balancer(self, name: str, tag: str, **settings: Any) -> str:
        """Order a load balancer for what arrives at port 80; return its address when it is active."""
        rule = {"entry_protocol": "http", "entry_port": 80, "target_protocol": "http", "target_port": 80}
        body = {"name": name, "region": "nyc3", "tag": tag, "forwarding_rules": [rule], **settings}
        balancers = self.client().load_balancers
        identifier = balancers.create(body=body)["load_balancer"]["id"]
        shown: dict[str, Any] = {}

        def active() -> bool:
            shown.update(balancers.get(identifier)["load_balancer"])
            return bool(shown["status"] == "active")

        until(active, f"load balancer {name} is active")
        return str(shown["ip"])

    def ssh(
        self, machine: Machine, command: str, user: str = "root", known_hosts: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command over SSH; without ``known_hosts`` any host key is good."""
        strict = "yes" if known_hosts else "no"
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "2",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": strict,
            "UserKnownHostsFile": str(known_hosts or "/dev/null"),
        }
        flags = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return subprocess.run(
            ["ssh", "-i", str(self.key), *flags, f"{user}@{machine.address}", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def wait_for_ssh(self, machine: Machine) -> None:
        until(lambda: self.ssh(machine, "true").returncode == 0, f"{machine.name} answers ssh")
