"""How things are broken on a watched fleet, and mended again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.fleet import host_keys as hostkey
from bluegreen.fleet.cloud_init import render_user_data
from tests.sandbox.certificates import self_signed
from tests.sandbox.watched import Watched

UNIT = "/etc/systemd/system/app-watched.service"
CURRENT = "/opt/app-watched/current"
# The name of the current release, and the variables that it runs with.
RELEASE = f"basename $(readlink {CURRENT})"
ENVIRONMENT = "$(sed -n 's/^EnvironmentFile=\\([^-].*\\)/\\1/p' /etc/systemd/system/app-watched.service)"
MAP = "/etc/haproxy/traffic.map"
SET_MAP = (
    "for pair in 'live {live}' 'idle {idle}'; do"
    ' echo "set map /etc/haproxy/traffic.map $pair" | socat - /run/haproxy/admin.sock; done'
)


SET_SHARE = (
    "echo 'set map /etc/haproxy/traffic.map idle_share {0}' | socat - /run/haproxy/admin.sock"
    " && sed -i 's/^idle_share .*/idle_share {0}/' /etc/haproxy/traffic.map"
)


@dataclass(frozen=True)
class Fault:
    """One thing that is broken, and what is to be said about it.

    :param subject: what the finding is about; for a droplet without ``watched-``.
    :param says: part of what it says.
    :param on: the machine that it is broken on.
    :param broken: command that breaks it; ``mended`` undoes that.
    :param settings: settings that are wrong instead, by their keys.
    :param around: breaks and mends what a command cannot.
    :param stops: whether ``provision_check`` refuses because of it, and says the same. It refuses because of
        nothing else.
    """

    name: str
    severity: str
    subject: str
    says: str
    on: str = ""
    broken: str = ""
    mended: str = ""
    ref: str = "main"
    settings: dict[str, Any] = field(default_factory=dict)
    around: Callable[[Watched], AbstractContextManager[object]] = lambda _: nullcontext()
    diff: str = ""
    stops: bool = False

    @contextmanager
    def there(self, watched: Watched) -> Iterator[None]:
        """Break it, and mend it afterwards."""
        with self.around(watched):
            if self.broken:
                watched.on(self.on, self.broken)
            try:
                yield
            finally:
                if self.mended:
                    watched.on(self.on, self.mended)


@contextmanager
def no_token(watched: Watched) -> Iterator[None]:
    watched.shop.box.fault("api", "status", status=401)
    yield
    watched.shop.box.clear_faults()


def without_scope(path: str) -> Callable[[Watched], AbstractContextManager[None]]:
    """Let the API answer as if the token might not do what is at a path."""

    @contextmanager
    def there(watched: Watched) -> Iterator[None]:
        watched.shop.box.fault("api", "status", status=403, path=path)
        yield
        watched.shop.box.clear_faults()

    return there


@contextmanager
def no_role(watched: Watched) -> Iterator[None]:
    droplet = watched.machines["watched-blue-1"].droplet_id
    tags = watched.shop.client().tags
    resources = {"resources": [{"resource_id": str(droplet), "resource_type": "droplet"}]}
    tags.unassign_resources("watched:blue", body=resources)
    yield
    tags.assign_resources("watched:blue", body=resources)


@contextmanager
def cut_off(watched: Watched) -> Iterator[None]:
    machine = watched.machines["watched-blue-1"]
    machine.cut_link()
    yield
    machine.restore_link()


@contextmanager
def joined(
    watched: Watched, name: str, *tags: str, role: str = "watched:green", user_data: str = ""
) -> Iterator[None]:
    """Let there be one more droplet, of the live color unless another tag is named."""
    [machine] = watched.shop.order(name, user_data=user_data, tags=("app:watched", role, *tags))
    machine.wait_ready()
    watched.shop.wait_for_ssh(machine)
    try:
        yield
    finally:
        watched.shop.client().droplets.destroy(machine.droplet_id)


def stranger(watched: Watched) -> AbstractContextManager[None]:
    return joined(watched, "evil")


def impostor(watched: Watched) -> AbstractContextManager[None]:
    return joined(watched, "watched-green-2", hostkey.generate().tag)


def newcomer(
    watched: Watched, name: str = "watched-green-2", role: str = "watched:green"
) -> AbstractContextManager[None]:
    """A droplet as the provision DAG makes them, and no deploy has reached yet."""
    key = hostkey.generate()
    data = render_user_data(app="watched", proxy=role == "watched:lb", host_key=key)
    return joined(watched, name, key.tag, role=role, user_data=data)


@contextmanager
def powered_off(watched: Watched) -> Iterator[None]:
    machine = watched.machines["watched-green-1"]
    machine.power_off()
    yield
    machine.power_on()
    watched.shop.wait_for_ssh(machine)
    for name in ("lb-1", "lb-2"):
        watched.on(
            name,
            "until echo show stat | socat - /run/haproxy/admin.sock | grep -q"
            " '^green_backend,watched-green-1,.*,UP,'; do sleep 0.1; done",
        )


@contextmanager
def full_disk(watched: Watched) -> Iterator[None]:
    machine = watched.machines["watched-blue-1"]
    machine.run("rm -rf /opt/app-watched/reserve")
    machine.fill_disk()
    yield
    machine.free_disk()


@contextmanager
def short_preview_key(_: Watched) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_PREVIEW_KEY", json.dumps({"conn_type": "http", "password": "short"}))
        yield


@contextmanager
def held_lock(watched: Watched) -> Iterator[None]:
    with watched.locked():
        yield


@contextmanager
def unconfirmed_switch(watched: Watched) -> Iterator[None]:
    with watched.locked() as hook:
        watched.switch(hook, Color.BLUE)
        yield
        hook.revert()
    watched.settle()


@contextmanager
def taken_back(watched: Watched) -> Iterator[None]:
    with watched.locked() as hook:
        watched.switch(hook, Color.BLUE)
        hook.revert()
    yield
    watched.settle()


@contextmanager
def stopped_haproxy(watched: Watched) -> Iterator[None]:
    watched.on("lb-1", "systemctl stop haproxy")
    yield
    watched.sync()


@contextmanager
def no_haproxy(watched: Watched) -> Iterator[None]:
    watched.on("lb-1", "systemctl stop haproxy && mv /usr/sbin/haproxy /usr/sbin/haproxy.away")
    yield
    watched.on("lb-1", "mv /usr/sbin/haproxy.away /usr/sbin/haproxy")
    watched.sync()


@contextmanager
def restarted_haproxy(watched: Watched) -> Iterator[None]:
    watched.on("lb-1", "systemctl restart haproxy")
    yield
    watched.sync()


def certificate_until(left: timedelta) -> Callable[[Watched], AbstractContextManager[None]]:
    """Give HAProxy a certificate that ends then."""

    @contextmanager
    def there(watched: Watched) -> Iterator[None]:
        pem = self_signed(datetime.now(UTC) + left)
        for name in ("watched-lb-1", "watched-lb-2"):
            watched.machines[name].run(["tee", "/etc/haproxy/cert.pem"], text=pem)
        yield
        for name in ("lb-1", "lb-2"):
            watched.on(name, "rm /etc/haproxy/cert.pem")

    return there


@contextmanager
def certificate_directory(watched: Watched) -> Iterator[None]:
    """Give HAProxy a directory with a good certificate and one that has ended."""
    now = datetime.now(UTC)
    for name in ("watched-lb-1", "watched-lb-2"):
        watched.machines[name].run("mkdir /etc/haproxy/certs")
        for file, days in (("good", 90), ("old", -1)):
            pem = self_signed(now + timedelta(days=days))
            watched.machines[name].run(["tee", f"/etc/haproxy/certs/{file}.pem"], text=pem)
    yield
    for name in ("lb-1", "lb-2"):
        watched.on(name, "rm -r /etc/haproxy/certs")


@contextmanager
def built_on_green_only(watched: Watched) -> Iterator[None]:
    """Leave what ``main`` leads to on the live color alone, as it is between two deploys."""
    releases = "/opt/app-watched/releases"
    watched.on("blue-1", f"mkdir /root/away && mv {releases}/{watched.revisions['v2']}-* /root/away")
    yield
    watched.on("blue-1", f"mv /root/away/* {releases} && rmdir /root/away")


def moved(path: str) -> dict[str, Any]:
    """Take a file away and put it back."""
    return {"broken": f"mv {path} {path}.away", "mended": f"mv {path}.away {path}"}


def edited(path: str, line: str = "# by hand") -> dict[str, Any]:
    """Add a line at a file's end and put the file back as it was."""
    away = f"/root/{path.replace('/', '-')}"
    return {
        "broken": f"cp -a {path} {away} && echo '{line}' >> {path}",
        "mended": f"cp -a {away} {path} && rm {away}",
    }


def renamed(user: str) -> dict[str, Any]:
    """Take a user away and bring the same one back."""
    return {
        "broken": f"sed -i 's/^{user}:/not-{user}:/' /etc/passwd",
        "mended": f"sed -i 's/^not-{user}:/{user}:/' /etc/passwd",
    }


RELOAD = " && systemctl daemon-reload"
BLUE, GREEN, LB = "blue-1", "green-1", "lb-1"
