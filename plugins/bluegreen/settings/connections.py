"""Which Airflow connections an app uses: the sections ``connections`` and ``notifications``."""

from __future__ import annotations

from bluegreen.settings.fields import ConnectionId
from bluegreen.settings.section import Section


class Connections(Section):
    """Airflow connections that hold the secrets."""

    digitalocean: ConnectionId = "digitalocean"
    ssh: ConnectionId = "bluegreen_ssh"
    seal: ConnectionId = "bluegreen_seal"
    haproxy_stats: ConnectionId = "haproxy_stats"
    preview: ConnectionId | None = None
    repository: ConnectionId | None = None
    environment: ConnectionId | None = None
    cpan: ConnectionId | None = None


class Notifications(Section):
    """Airflow connections of type Apprise, by the kind of event that they are notified of."""

    success: list[ConnectionId] = []
    failure: list[ConnectionId] = []
    rollback: list[ConnectionId] = []
    dry_run_failure: list[ConnectionId] = []
    approval: list[ConnectionId] = []
