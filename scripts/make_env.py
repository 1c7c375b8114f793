"""Writes what docker-compose.yaml needs: ``.env``, and ``secrets/`` with passwords, keys, ``known_hosts``."""

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

# PostgreSQL and Redis run as users of their own, who own no file here, so everybody may read these two.
# No other user of the host can, because the directory is closed; a container sees the file alone.
FOR_OTHERS = ("postgres_password", "redis_password")

TEMPLATE = """\
# Written by `make env`; read by docker-compose.yaml. Secrets are not here, but in secrets/.
# A change arrives with: docker compose up --detach --wait

# The first user, made once with the password in secrets/admin_password; afterwards the password is what the
# user has set in the UI. The profile `sandbox` logs in with that file, so write a new one there too.
ADMIN_USER=admin
# The user that triggers deploys from CI, and may do nothing else; its password is in secrets/ci_password, and
# every start sets it.
CI_USER=ci

# Tasks on workers of their own, with Redis: both lines or none. With the sandbox, the first is
# COMPOSE_PROFILES=celery,sandbox
#
# COMPOSE_PROFILES=celery
# EXECUTOR=CeleryExecutor

# The user that the containers run as; it must be able to read the two files, and what is in secrets/.
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
    values = new_secrets()
    for path in (env, *(directory / name for name in ("ssh_key", "known_hosts", *values))):
        if path.exists():
            why = "exists and stays as it is; move it away to make a new one"
            print(f"make env: {path} {why}", file=sys.stderr)
            return 1
    if not shutil.which("ssh-keygen"):
        print("make env: there is no ssh-keygen; install OpenSSH's client", file=sys.stderr)
        return 1

    uid = os.geteuid() or AIRFLOW_UID
    directory.mkdir(mode=0o700, exist_ok=True)
    directory.chmod(0o700)
    key = directory / "ssh_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "airflow", "-f", key], check=True)
    for name, value in {"known_hosts": "", **values}.items():
        write(directory / name, value)
        if name in FOR_OTHERS:
            (directory / name).chmod(0o444)
    if os.geteuid() == 0:
        for path in (directory, *directory.iterdir()):
            os.chown(path, uid, -1)
    # Last, because an existing .env means that everything else exists.
    write(env, TEMPLATE.format(uid=uid))
    print(f"wrote {env} and {directory}/; the public key for DigitalOcean is in {key}.pub")
    return 0


def write(path: Path, text: str) -> None:
    """Write a new file that nobody else can ever read.

    :param path: where; nothing may be there.
    :param text: what is in it.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def new_secrets() -> dict[str, str]:
    """Return the secrets of a new stack by the names of their files."""
    postgres, redis = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    return {
        # Encrypts connections in the metadata database: without it a backup's connections are lost.
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        # Sign what the parts of Airflow send to each other and to browsers.
        "jwt_secret": secrets.token_urlsafe(64),
        "api_secret_key": secrets.token_urlsafe(48),
        "postgres_password": postgres,
        "database_url": f"postgresql+psycopg2://airflow:{postgres}@postgres/airflow",
        "redis_password": redis,
        "broker_url": f"redis://:{redis}@redis:6379/0",
        "admin_password": secrets.token_urlsafe(16),
        "ci_password": secrets.token_urlsafe(24),
    }


if __name__ == "__main__":
    sys.exit(main())
