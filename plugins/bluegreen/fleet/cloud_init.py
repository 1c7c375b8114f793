"""The user data that cloud-init applies to a new droplet."""

from __future__ import annotations

from collections.abc import Sequence

from bluegreen.fleet.host_keys import HostKeyPair
from bluegreen.release.system_names import build_user, system_name
from bluegreen.templates import environment


def render_user_data(*, app: str, proxy: bool, host_key: HostKeyPair, packages: Sequence[str] = ()) -> str:
    """Render a droplet's user data; it holds the private host key, so it is a secret.

    :param app: the app's id, see :func:`bluegreen.release.system_names.system_name`.
    :param proxy: whether the droplet is a proxy rather than an application server.
    :param host_key: its SSH host key.
    :param packages: Debian packages that the app needs, see the setting ``fleet.packages``.
    """
    role = "proxy" if proxy else "app_server"
    # Every value in these templates passes through tojson.
    template = environment().get_template(f"cloud-init/{role}.yaml.j2")
    return template.render(
        build_user=build_user(app),
        run_user=system_name(app),
        packages=list(packages),
        host_key_private=host_key.private,
        host_key_public=host_key.public,
    )
