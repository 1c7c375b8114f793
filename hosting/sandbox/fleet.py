"""``python3 -m hosting.sandbox.fleet``: order the sandbox app's droplets, print where clients find it.

It does what a new user does by hand for a real app: makes the connections, and runs the provision DAG.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import requests

from demo.client import AirflowClient
from demo.errors import ApiError, DemoError
from hosting.sandbox.shared import ACCOUNT, APP, AUTHORITY, CONNECTIONS, DIRECTORY, IN_AIRFLOW, KEY

AIRFLOW = "http://apiserver:8080"
PARSE_SECONDS = 120
PROVISION_SECONDS = 300
PROVISION = f"bluegreen_provision__{APP}"


def main() -> int:
    """Order the fleet; return the exit status."""
    account = json.loads((DIRECTORY / ACCOUNT).read_text())
    client = AirflowClient(
        AIRFLOW, os.environ["ADMIN_USER"], Path("/run/secrets/admin_password").read_text().strip()
    )
    try:
        for name, settings in connections(account).items():
            client.connect(name, **settings)
        provision(client)
        print(proxy(account))
    except (DemoError, requests.RequestException) as error:
        print(f"fleet: {explained(error)}", file=sys.stderr)
        return 1
    return 0


def explained(error: Exception) -> str:
    """Say what to do about an error, where that is known."""
    refused = isinstance(error, ApiError) and error.status == 401
    advice = "; if the password was changed in the UI, put the new one into secrets/admin_password"
    return f"{error}{advice if refused else ''}"


def connections(account: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the connections that the app's file names."""
    return {
        CONNECTIONS["digitalocean"]: {
            "kind": "http",
            **account,
            "extra": {"ca_file": str(IN_AIRFLOW / AUTHORITY)},
        },
        CONNECTIONS["ssh"]: {"kind": "ssh", "login": "root", "extra": {"key_file": str(IN_AIRFLOW / KEY)}},
    }


def provision(client: AirflowClient) -> None:
    """Run the provision DAG, as soon as Airflow has read it.

    :raises DemoError: with the run's last words, if it fails.
    """
    deadline = time.monotonic() + PARSE_SECONDS
    while PROVISION not in client.dag_ids():
        if time.monotonic() > deadline:
            raise DemoError(f"Airflow does not know {PROVISION}; see the log of dag-processor")
        time.sleep(0.5)
    run = client.trigger(PROVISION)
    if client.wait(run, PROVISION_SECONDS) != "success":
        raise DemoError(f"there is no fleet: {client.last_line(run)}")


def proxy(account: dict[str, str]) -> str:
    """Return the public address of the app's proxy."""
    answer = requests.get(
        f"{account['host']}/v2/droplets",
        params={"tag_name": f"app:{APP}", "per_page": "200"},
        headers={"Authorization": f"Bearer {account['password']}"},
        verify=str(DIRECTORY / AUTHORITY),
        timeout=10,
    )
    answer.raise_for_status()
    found = [each for each in answer.json()["droplets"] if "role:loadbalancer" in each["tags"]]
    if not found:
        raise DemoError("provisioning made no proxy")
    return next(str(at["ip_address"]) for at in found[0]["networks"]["v4"] if at["type"] == "public")


if __name__ == "__main__":
    sys.exit(main())
