"""Airflow's configuration for the sandbox: an app file, connections, an SSH key."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

import yaml
from pydo import Client

from demo.app_settings import SSH_KEY, app_settings
from sandbox import Sandbox
from sandbox.sample_app import build_repository

APP = "my_perl_app"


class DemoEnvironment:
    """An app whose droplets are the sandbox's.

    :param sandbox: where the droplets will be.
    :param directory: for the app file and the key pair; made if it is not there.
    :param bake: seconds to watch a switch before it is confirmed.
    :param confirm_within: seconds after which the proxy takes an unconfirmed switch back.
    :param proxies: how many.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        directory: Path,
        *,
        bake: float = 5,
        confirm_within: int = 30,
        proxies: int = 1,
    ) -> None:
        self.sandbox = sandbox
        self.directory = directory.resolve()
        self.bake = bake
        self.confirm_within = confirm_within
        self.proxies = proxies
        self.revisions: dict[str, str] = {}

    def prepare(self) -> None:
        """Build the sample app's repository, register an SSH key, and write the app file."""
        self.revisions = build_repository(self.sandbox.repositories / f"{APP}.git")
        (self.directory / "apps").mkdir(parents=True, exist_ok=True)
        self._register_key()
        file = self.directory / "apps" / f"{APP}.yaml"
        settings = app_settings(APP, f"{self.sandbox.git_url}/{APP}.git")
        settings["fleet"]["proxies"] = self.proxies
        settings["fleet"]["ssh_from"] = [self.sandbox.ssh_from]
        settings["validation"] = {"bake": self.bake, "confirm_within": self.confirm_within}
        file.write_text(yaml.safe_dump(settings, sort_keys=False))

    def variables(self) -> dict[str, str]:
        """Return the environment variables that Airflow needs besides its own."""
        sandbox = self.sandbox
        connections = {
            "DIGITALOCEAN": {
                "conn_type": "http",
                "host": sandbox.api_url,
                "password": sandbox.token,
                "extra": {"ca_file": sandbox.ca_file},
            },
            "BLUEGREEN_SSH": {
                "conn_type": "ssh",
                "login": "root",
                "extra": {"key_file": str(self._key)},
            },
            "BLUEGREEN_SEAL": {"conn_type": "generic", "password": self._seal},
        }
        return {
            "BLUEGREEN_APPS_DIR": str(self.directory / "apps"),
            **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
        }

    def dag_id(self, kind: str) -> str:
        """Return the id of the app's DAG of a kind: deploy, provision, rollback or dry_run."""
        return f"bluegreen_{kind}__{APP}"

    def proxy_url(self) -> str:
        """Return where clients find the app."""
        return f"http://{self.sandbox.machine('my-perl-app-lb-1').address}/"

    def digitalocean(self) -> Client:
        """Return pydo for the sandbox's API."""
        return Client(
            self.sandbox.token, endpoint=self.sandbox.api_url, connection_verify=self.sandbox.ca_file
        )

    @property
    def _seal(self) -> str:
        """What is sealed with it outlives this process."""
        file = self.directory / "seal"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(32))
        return file.read_text()

    @property
    def _key(self) -> Path:
        return self.directory / "id_ed25519"

    def _register_key(self) -> None:
        if not self._key.exists():
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", SSH_KEY, "-f", str(self._key)],
                check=True,
            )
        public = self._key.with_suffix(".pub").read_text().strip()
        client = self.digitalocean()
        registered = client.ssh_keys.list()["ssh_keys"]
        if not any(key["name"] == SSH_KEY and key["public_key"] == public for key in registered):
            client.ssh_keys.create(body={"name": SSH_KEY, "public_key": public})
