"""What a new droplet is told by cloud-init."""

from __future__ import annotations

from bluegreen.hostkey import HostKeyPair
from bluegreen.templates import environment


def render_user_data(*, app: str, load_balancer: bool, host_key: HostKeyPair) -> str:
    """Render a droplet's user data; it holds the private host key, so it is a secret.

    :param app: the app's id, which names the user it runs as.
    :param load_balancer: whether the droplet is a load balancer rather than an application server.
    :param host_key: the host key it gets.
    """
    role = "load_balancer" if load_balancer else "app_server"
    # Every value in these templates passes through tojson.
    template = environment().get_template(f"cloud-init/{role}.yaml.j2")
    return template.render(app=app, host_key_private=host_key.private, host_key_public=host_key.public)
