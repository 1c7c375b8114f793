"""Which Airflow connections an app uses: the sections ``connections`` and ``notifications``."""

from __future__ import annotations

from bluegreen.settings.fields import ConnectionId
from bluegreen.settings.section import Section


class Connections(Section):
    """Airflow connections that hold the secrets."""

    digitalocean: ConnectionId = "digitalocean"
    """Password: a DigitalOcean API token."""
    ssh: ConnectionId = "bluegreen_ssh"
    """Login `root` and the private key (extra: key_file or private_key)."""
    seal: ConnectionId = "bluegreen_seal"
    """Password: 32 random characters or more. It seals what tasks and the artifact store keep, and salts the
    digests of configurations. Another password means that releases are built again; no run may be at work
    then.
    """
    preview: ConnectionId | None = None
    """Password: the preview key, 16 to 128 characters, for people who may see the idle color. Without this
    setting Airflow derives a key for its own requests from the password of `seal`, and nobody
    needs to know it.
    """
    repository: ConnectionId | None = None
    """Of type `git`: how Airflow reads `repository`. By default as its machine's user can."""
    environment: ConnectionId | None = None
    """Extra: {"environment": {"DB_PASSWORD": "…"}, "files": {"tls.pem": "…"}}: variables with secrets, and
    what `files` names.
    """
    cpan: ConnectionId | None = None
    """Login and password for the CPAN mirror in `dependencies.mirror`, which has to be an https:// URL then.
    For the installer `carton` only: cpanm asks the mirror while it runs code of the repository, which
    could read the password.
    """


class Notifications(Section):
    """Airflow connections of type Apprise, by the kind of event that they are notified of."""

    success: list[ConnectionId] = []
    """A deploy that is live and confirmed, and any other run that ended well, except dry runs."""
    failure: list[ConnectionId] = []
    """A run that failed, except as below."""
    rollback: list[ConnectionId] = []
    """A release that was bad after the switch, so that traffic is back where it was."""
    dry_run_failure: list[ConnectionId] = []
    """A dry run that found an error. Warnings are not sent."""
    approval: list[ConnectionId] = []
    """A deploy that waits for somebody's approval."""
