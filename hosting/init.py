"""Preparation before Airflow starts: tables, users, a role for each app, the seal.

Run again, it changes only what differs from that.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.models.connection import Connection
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.utils.session import create_session
from sqlalchemy import select

from bluegreen.settings.app_files import app_ids
from bluegreen.settings.connections import Connections

# Where containers have them, unless this names another place.
SECRETS = Path(os.environ.get("SECRETS_DIRECTORY", "/run/secrets"))
# Written for one app; docs/ci.md explains each permission.
ROLE = Path(__file__).with_name("airflow-role.json")
ROLE_IS_FOR = "my_perl_app"
# What Airflow does not work without, or worse: works with an empty one.
DEMANDED = ("fernet_key", "jwt_secret", "api_secret_key", "database_url", "admin_password", "ci_password")


def main() -> None:
    """Prepare the database that Airflow's settings name."""
    demand_secrets(SECRETS)
    demand_workers(os.environ)
    subprocess.run(["airflow", "db", "migrate"], check=True)
    with get_application_builder() as builder:
        manager = builder.sm
        roles = [_role(manager, app) for app in app_ids()]
        admin = os.environ["ADMIN_USER"]
        if not manager.find_user(username=admin):
            _add_user(manager, admin, [manager.find_role("Admin")], secret("admin_password"))
            print(f"made the user {admin}")
        _ci_user(manager, os.environ["CI_USER"], roles)
    _make_seal()


def demand_secrets(directory: Path) -> None:
    """End here if a secret has no value.

    :param directory: has a file for each.
    """
    for name in DEMANDED:
        file = directory / name
        if not file.exists() or not file.read_text().strip():
            raise SystemExit(
                f"init: the secret {file} is {'empty' if file.exists() else 'missing'}, and nothing was"
                f" changed; give it a value (with containers, in secrets/{name}) and start again"
            )


def demand_workers(environment: Mapping[str, str]) -> None:
    """End here if tasks would have no worker, or a worker no tasks. Containers only: others have no profiles.

    :param environment: has the executor, and what Compose starts.
    """
    profiles = environment.get("COMPOSE_PROFILES")
    if profiles is None:
        return
    executor = environment["AIRFLOW__CORE__EXECUTOR"]
    if bool({"celery", "*"} & set(profiles.split(","))) != (executor == "CeleryExecutor"):
        raise SystemExit(
            f"init: COMPOSE_PROFILES is {profiles!r} and EXECUTOR {executor}, and nothing was changed; set"
            " COMPOSE_PROFILES=celery and EXECUTOR=CeleryExecutor in .env, both or neither, and start again"
        )


def _role(manager: Any, app: str) -> Any:
    """Return the role that may deploy an app; it has exactly the permissions of the file."""
    rows = json.loads(ROLE.read_text().replace(ROLE_IS_FOR, app))
    role = manager.add_role(rows[0]["name"])
    wanted = {(action, row["resource"]) for row in rows for action in row["action"].split(",")}
    for permission in list(role.permissions):
        if (permission.action.name, permission.resource.name) not in wanted:
            manager.remove_permission_from_role(role, permission)
    for action, resource in sorted(wanted):
        manager.add_permission_to_role(role, manager.create_permission(action, resource))
    return role


def _ci_user(manager: Any, name: str, roles: list[Any]) -> None:
    """Let CI's user have these roles, and the password of the secret."""
    password = secret("ci_password")
    user = manager.find_user(username=name)
    if not user:
        _add_user(manager, name, roles, password)
        print(f"made the user {name}")
        return
    user.roles = roles
    manager.update_user(user)
    manager.reset_password(user.id, password)


def _add_user(manager: Any, name: str, roles: list[Any], password: str) -> None:
    added = manager.add_user(name, name, "Airflow", f"{name}@localhost", roles, password=password)
    if not added:
        raise SystemExit(f"init: the user {name} could not be made; the lines above say why")


def _make_seal() -> None:
    """Make the connection `connections.seal`: nobody has to know its password, and a backup has it."""
    name = Connections().seal
    with create_session() as session:
        if session.scalar(select(Connection).where(Connection.conn_id == name)) is None:
            password = secrets.token_hex(32)
            session.add(Connection(conn_id=name, conn_type="generic", password=password))
            print(f"made the connection {name}")


def secret(name: str) -> str:
    """Return the value of a secret; an editor ends a file with a newline, which is no part of it."""
    return (SECRETS / name).read_text().rstrip("\n")


if __name__ == "__main__":
    main()
