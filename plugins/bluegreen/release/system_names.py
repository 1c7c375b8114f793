"""Names on a droplet; they never collide with the system's, whatever an app's id is."""

from __future__ import annotations


def system_name(app_id: str) -> str:
    """Return the name of an app's systemd unit, of its user, and of its directories on a droplet.

    They are ``app-shop.service``, ``/opt/app-shop``, ``/var/lib/app-shop`` and ``/etc/default/app-shop`` for
    the app ``shop``: an app may be called ``ssh`` or ``root``.
    """
    return f"app-{app_id}"


def build_user(app_id: str) -> str:
    """Return the name of the user that builds an app's releases on a droplet.

    Each app has its own: a build is code of the repository, and must not read what another app is made of.
    """
    return f"build-{app_id}"
