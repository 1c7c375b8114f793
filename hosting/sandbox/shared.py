"""What the sandbox's container and Airflow's containers share: a volume, and the name of an app."""

from __future__ import annotations

from pathlib import Path

APP = "sandbox_app"
# The volume, where the sandbox has it; Airflow has it elsewhere and may only read.
DIRECTORY = Path("/srv/shared")
IN_AIRFLOW = Path("/opt/airflow/sandbox")

KEY = "id_ed25519"
AUTHORITY = "ca.pem"
# How the sandbox's API is reached: address and token.
ACCOUNT = "account.json"
# Airflow connections of the app, none of which another app has.
CONNECTIONS = {"digitalocean": "sandbox_digitalocean", "ssh": "sandbox_ssh"}
