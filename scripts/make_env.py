"""Writes what docker-compose.yaml needs and nobody may know: ``.env``, SSH key, an empty ``known_hosts``."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The official image's user. Without root, the containers run as the user of `make env`, who owns the files.
AIRFLOW_UID = 50000

TEMPLATE = """\
# Written by `make env`; read by docker-compose.yaml. Whoever can read this file can do what Airflow can.
# A change arrives with: docker compose up --detach --wait --force-recreate

# Encrypts connections in the metadata database: without it a backup's connections are lost.
FERNET_KEY={fernet_key}
# Sign what the parts of Airflow send to each other and to browsers.
JWT_SECRET={jwt_secret}
API_SECRET_KEY={api_secret_key}

# The metadata database; both lines have the same password.
POSTGRES_PASSWORD={postgres_password}
DATABASE_URL=postgresql+psycopg2://airflow:{postgres_password}@postgres/airflow
# The queue of the profile `celery`; both lines have the same password.
REDIS_PASSWORD={redis_password}
BROKER_URL=redis://:{redis_password}@redis:6379/0

# The first user, made once; afterwards the password is what the user has set in the UI. The profile
# `sandbox` logs in with this one, so write a new one here too.
ADMIN_USER=admin
ADMIN_PASSWORD={admin_password}
# The user that triggers deploys from CI, and may do nothing else; `init` makes this its password.
CI_USER=ci
CI_PASSWORD={ci_password}

# Tasks on workers of their own, with Redis: both lines or none. With the sandbox, the first is
# COMPOSE_PROFILES=celery,sandbox
#
# COMPOSE_PROFILES=celery
# EXECUTOR=CeleryExecutor

# The user that the containers run as; it must be able to read the two files.
AIRFLOW_UID={uid}
SSH_KEY_FILE=./secrets/ssh_key
KNOWN_HOSTS_FILE=./secrets/known_hosts

# The TLS proxy in front of the UI: its address as the container sees it, and the address that people use;
# docs/production.md has how to find the first.
# TRUSTED_PROXIES=172.18.0.1
# BASE_URL=https://airflow.example.org

# The receiver of Airflow's metrics (StatsD); docs/operations.md lists the metrics.
# STATSD_HOST=192.0.2.10
"""


def main(root: Path = ROOT) -> int:
    """Write the files below ``root``; return the exit status, and say why if it is not 0."""
    env, directory = root / ".env", root / "secrets"
    for path in (env, directory / "ssh_key", directory / "known_hosts"):
        if path.exists():
            why = "exists and stays as it is; move it away to make a new one"
            print(f"make env: {path} {why}", file=sys.stderr)
            return 1
    if not shutil.which("ssh-keygen"):
        print("make env: there is no ssh-keygen; install OpenSSH's client", file=sys.stderr)
        return 1

    uid = os.geteuid() or AIRFLOW_UID
    directory.mkdir(mode=0o700, exist_ok=True)
    key, known_hosts = directory / "ssh_key", directory / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "airflow", "-f", key], check=True)
    known_hosts.touch(mode=0o600)
    if os.geteuid() == 0:
        for path in (directory, key, known_hosts):
            os.chown(path, uid, -1)
    # Last, because an existing .env means that everything else exists; and never readable by others.
    with os.fdopen(os.open(env, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(contents(uid))
    print(f"wrote {env} and {directory}/; the public key for DigitalOcean is in {key}.pub")
    return 0


def contents(uid: int) -> str:
    """Return the text of a new ``.env``, with secrets of its own.

    :param uid: number of the user that the containers run as.
    """
    return TEMPLATE.format(
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        jwt_secret=secrets.token_urlsafe(64),
        api_secret_key=secrets.token_urlsafe(48),
        postgres_password=secrets.token_urlsafe(24),
        redis_password=secrets.token_urlsafe(24),
        admin_password=secrets.token_urlsafe(16),
        ci_password=secrets.token_urlsafe(24),
        uid=uid,
    )


if __name__ == "__main__":
    sys.exit(main())
