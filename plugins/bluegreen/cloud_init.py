"""What a new droplet is told by cloud-init."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bluegreen.hostkey import HostKeyPair

_TEMPLATES = Path(__file__).resolve().parents[2] / "include" / "templates" / "cloud-init"


def render_user_data(*, app: str, load_balancer: bool, host_key: HostKeyPair) -> str:
    """Render a droplet's user data; it holds the private host key, so it is a secret.

    :param app: the app's id, which names the user it runs as.
    :param load_balancer: whether the droplet is a load balancer rather than an application server.
    :param host_key: the host key it gets.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        # Nothing here is HTML; every value passes through tojson.
        autoescape=False,  # noqa: S701
        keep_trailing_newline=True,
    )
    template = environment.get_template("load_balancer.yaml.j2" if load_balancer else "app_server.yaml.j2")
    return template.render(app=app, host_key_private=host_key.private, host_key_public=host_key.public)
