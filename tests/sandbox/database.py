"""PostgreSQL on a droplet that belongs to no app."""

from __future__ import annotations

import secrets
import time

from sandbox import Machine


class Database:
    """A PostgreSQL server of Debian's, with one role and its database for everybody in the sandbox.

    :param name: of both.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.name = name
        self.password = secrets.token_urlsafe(16)

    def install(self) -> None:
        """Install and start it."""
        install = ["apt-get", "install", "-qy", "--no-install-recommends", "postgresql"]
        self._machine.run(["apt-get", "update", "-q"], seconds=120)
        self._machine.run(["env", "DEBIAN_FRONTEND=noninteractive", *install], seconds=300)
        # A shell does not expand the name of a file that it redirects to.
        self._machine.run(
            "echo 'host all all 198.18.0.0/15 scram-sha-256' | tee -a /etc/postgresql/*/main/pg_hba.conf"
        )
        self._prepare("ALTER SYSTEM SET listen_addresses = '*'")
        self._prepare(f"CREATE ROLE {self.name} LOGIN PASSWORD '{self.password}'")
        self._prepare(f"CREATE DATABASE {self.name} OWNER {self.name}")
        self._machine.run(["systemctl", "restart", "postgresql"])

    @property
    def host(self) -> str:
        """Its address in the private network."""
        return self._machine.private_address

    @property
    def url(self) -> str:
        """How an app reaches it."""
        return f"postgres://{self.name}:{self.password}@{self.host}:5432/{self.name}"

    def query(self, statement: str, seconds: float = 60) -> str:
        """Return what a statement of the database's superuser prints, one line for each row.

        :raises SandboxError: with the server's error.
        """
        psql = ["psql", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", self.name]
        done = self._machine.run(
            ["runuser", "--user", "postgres", "--", *psql], text=statement, seconds=seconds
        )
        return done.stdout.strip()

    def _prepare(self, statement: str) -> None:
        """Run a statement as soon as the server answers."""
        deadline = time.monotonic() + 30
        psql = ["runuser", "--user", "postgres", "--", "psql", "--quiet", "--command", statement]
        while self._machine.run(psql, check=False).returncode:
            assert time.monotonic() < deadline, f"not within 30 s: {statement.split()[0]}"
