"""What apps keep their state in: PostgreSQL and Redis on one droplet that belongs to no app."""

from __future__ import annotations

import secrets
from typing import Self

from sandbox import Machine
from tests.sandbox.database import Database
from tests.sandbox.droplets import Shop

# The table of the app in ``app/``, as it was before any migration; v1 and v2 do not use the last column.
TABLE = "CREATE TABLE visits (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), referrer text)"
PORT = 6379
REDIS_CONFIGURATION = "/etc/redis/redis.conf"


class Services:
    """A droplet with Debian's PostgreSQL and Redis, which every droplet of the sandbox reaches.

    :param machine: the droplet; it is ready, and nothing is installed.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.database = Database(machine, "state")
        self._password = secrets.token_urlsafe(16)

    def install(self) -> None:
        """Install and start both, and create the app's table."""
        self.database.install()
        install = ["apt-get", "install", "-qy", "--no-install-recommends", "redis-server"]
        self.machine.run(["env", "DEBIAN_FRONTEND=noninteractive", *install], seconds=300)
        # The last one of several counts.
        lines = f"bind 0.0.0.0\nrequirepass {self._password}\n"
        self.machine.run(["tee", "-a", REDIS_CONFIGURATION], text=lines)
        self.machine.run(["systemctl", "restart", "redis-server"])
        self.query(f"SET ROLE {self.database.name}; {TABLE}")

    @classmethod
    def order(cls, shop: Shop) -> Self:
        """Order the droplet, and install both."""
        [machine] = shop.order("state-services", size="s-2vcpu-4gb")
        machine.wait_ready()
        services = cls(machine)
        services.install()
        return services

    @property
    def redis_url(self) -> str:
        """How an app reaches Redis."""
        return f"redis://:{self._password}@{self.machine.private_address}:{PORT}"

    @property
    def environment(self) -> dict[str, str]:
        """What an app's environment has: the URLs of both, and the variables of PostgreSQL's own clients."""
        database = self.database
        return {
            "DATABASE_URL": database.url,
            "REDIS_URL": self.redis_url,
            "PGHOST": database.host,
            "PGUSER": database.name,
            "PGDATABASE": database.name,
            "PGPASSWORD": database.password,
        }

    def query(self, statement: str, seconds: float = 60) -> str:
        """Return what a statement of PostgreSQL's superuser prints, one line for each row.

        :raises SandboxError: with the server's error.
        """
        return self.database.query(statement, seconds)

    def redis(self, *words: str) -> str:
        """Return what a command of Redis answers, for example ``dbsize``."""
        command = ["env", f"REDISCLI_AUTH={self._password}", "redis-cli", *words]
        return self.machine.run(command).stdout.strip()
