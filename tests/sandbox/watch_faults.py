"""What can be broken on a watched fleet, and what is to be said about it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bluegreen.agent_bundle import agent_bundle
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
def no_stats_login(_: Watched) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_HAPROXY_STATS", json.dumps({"conn_type": "http", "login": "admin"}))
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
FAULTS = [
    Fault(
        "API token", "error", "connection digitalocean", "refused the API token", around=no_token, stops=True
    ),
    Fault(
        "token without the scope for droplets",
        "error",
        "connection digitalocean",
        "refused to list droplets (403)",
        around=without_scope("/v2/droplets*"),
        stops=True,
    ),
    Fault(
        "token without a scope for provisioning",
        "warning",
        "fleet.ssh_keys",
        "refused to list ssh_keys (403)",
        around=without_scope("/v2/account/keys*"),
    ),
    Fault("role tag", "error", BLUE, "must have one of the tags", around=no_role, stops=True),
    Fault("link", "error", BLUE, "cannot be reached by SSH", around=cut_off, stops=True),
    Fault(
        "host key",
        "error",
        BLUE,
        "another SSH host key than the recorded one",
        on=BLUE,
        broken="cp -a /etc/ssh /root/ssh && ssh-keygen -q -t ed25519 -N '' -f /root/other"
        " && cp /root/other /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh",
        mended="rm -r /etc/ssh /root/other* && mv /root/ssh /etc/ssh && systemctl restart ssh",
        stops=True,
    ),
    Fault("SSH login", "error", BLUE, "refused the login", on=BLUE, **moved("/root/.ssh"), stops=True),
    Fault("disk", "error", BLUE, "MB of disk are free, 200 are needed", around=full_disk, stops=True),
    Fault(
        "carton", "error", BLUE, "carton is not installed", on=BLUE, **moved("/usr/bin/carton"), stops=True
    ),
    Fault(
        "app user",
        "error",
        BLUE,
        "the user app-watched does not exist",
        on=BLUE,
        **renamed("app-watched"),
        stops=True,
    ),
    Fault("ref", "error", "ref", "there is no branch or tag 'nowhere'", ref="nowhere"),
    Fault("commit", "error", "policy", "it is in no branch and has no tag", ref="f" * 40),
    Fault("snapshot", "error", "cpanfile.snapshot", "it is missing in no-snapshot", ref="no-snapshot"),
    Fault(
        "snapshot that is kept from the release",
        "error",
        "left-out",
        ".gitattributes keeps cpanfile.snapshot from the release",
        ref="left-out",
    ),
    Fault(
        "submodule without a URL",
        "error",
        "submodule",
        "is a submodule without a URL in .gitmodules",
        ref="submodule",
    ),
    Fault("link out of the release", "error", "outward", "it is a link out of it, to /srv", ref="link-out"),
    Fault(
        "directory of the app",
        "error",
        "main",
        "there is no directory backend in",
        settings={"server.root": "backend"},
    ),
    Fault(
        "template of a delivered file",
        "error",
        "configuration",
        "the template config/nowhere is not in the repository",
        settings={"files": [{"path": "config/app.conf", "content_from": {"template": "config/nowhere"}}]},
    ),
    Fault(
        "connection with the app's secrets",
        "error",
        "configuration",
        "nowhere",
        settings={"connections.environment": "nowhere"},
    ),
    Fault(
        "artifact store",
        "error",
        "artifacts.store",
        "the artifact store /etc/hostname/artifacts cannot be",
        settings={"artifacts.store": "/etc/hostname/artifacts"},
    ),
    Fault("vendored distribution", "error", "vendor/cache", "does not have", ref="not-vendored"),
    Fault("PSGI file", "error", "no-psgi", "there is no app.psgi", ref="no-psgi"),
    Fault(
        "CPAN mirror",
        "error",
        BLUE,
        "it cannot reach http://127.0.0.1:1/",
        ref="no-vendor",
        settings={"dependencies.mirror": "http://127.0.0.1:1/"},
    ),
    Fault(
        "distribution that CPAN does not have",
        "error",
        "cpanfile.snapshot",
        "CPAN does not have E/ET/ETHER/Try-Tiny-",
        ref="no-vendor",
        settings={"dependencies.mirror": "http://127.0.0.1:8888/"},
        on=BLUE,
        broken="systemd-run -q --unit=cpan python3 -m http.server 8888 --bind 127.0.0.1 --directory /srv &&"
        " until curl -fsS -o /dev/null http://127.0.0.1:8888/; do sleep 0.1; done",
        mended="systemctl stop cpan",
    ),
    Fault(
        "Debian package that is not installed",
        "warning",
        BLUE,
        "libpq5 (fleet.packages) is not installed",
        settings={"fleet.packages": ["libpq5"]},
    ),
    Fault(
        "Debian package that does not exist",
        "error",
        BLUE,
        "its package sources do not have nonesuch (fleet.packages)",
        settings={"fleet.packages": ["nonesuch"]},
        on=BLUE,
        broken="apt-get -qq update",
        mended="rm -rf /var/lib/apt/lists/*",
        stops=True,
    ),
    Fault(
        "app that does not load",
        "error",
        BLUE,
        "the app does not load: Can't locate Nowhere.pm",
        on=BLUE,
        broken="echo PERL5OPT=-MNowhere > /etc/default/app-watched",
        mended="rm /etc/default/app-watched",
    ),
    Fault(
        "live app that does not load",
        "warning",
        GREEN,
        "the app does not load: Can't locate Nowhere.pm",
        on=GREEN,
        broken="echo PERL5OPT=-MNowhere > /etc/default/app-watched",
        mended="rm /etc/default/app-watched",
        around=built_on_green_only,
    ),
    Fault(
        "environment that systemd cannot read",
        "error",
        BLUE,
        "systemd cannot read /etc/default/app-watched, so the app would not start: Invalid argument",
        on=BLUE,
        broken="printf 'NAME=\\377\\n' > /etc/default/app-watched",
        mended="rm /etc/default/app-watched",
        stops=True,
    ),
    Fault(
        "environment of which systemd ignores lines",
        "warning",
        BLUE,
        "systemd ignores lines of /etc/default/app-watched: export NAME",
        on=BLUE,
        broken="echo 'export NAME=secret' > /etc/default/app-watched",
        mended="rm /etc/default/app-watched",
    ),
    Fault(
        "app that cannot be kept from writing",
        "warning",
        BLUE,
        "the app was not loaded: systemd did not start it in a cage",
        on=BLUE,
        **moved("/usr/bin/systemd-run"),
    ),
    Fault(
        "idle app",
        "warning",
        BLUE,
        "a rollback would not be possible",
        on=BLUE,
        broken="systemctl stop app-watched",
        mended="systemctl start app-watched && until curl -fsS -o /dev/null http://$(hostname -I |"
        " tr ' ' '\\n' | grep ^198.19):8080/health; do sleep 0.1; done || true",
    ),
    Fault("HAProxy stopped", "error", LB, "HAProxy does not run", around=stopped_haproxy),
    Fault(
        "HAProxy missing",
        "error",
        LB,
        "HAProxy is not installed, or its version cannot be read",
        around=no_haproxy,
        stops=True,
    ),
    Fault(
        "HAProxy restarted",
        "warning",
        f"{LB} haproxy.service",
        "something else has started or reloaded HAProxy",
        around=restarted_haproxy,
    ),
    Fault("stats login", "error", "haproxy.cfg", "needs a login and a password", around=no_stats_login),
    Fault(
        "certificate that is missing",
        "error",
        LB,
        "HAProxy refuses the configuration",
        settings={"traffic.certificate": "/etc/haproxy/cert.pem"},
    ),
    Fault(
        "certificate that ends",
        "warning",
        LB,
        "the certificate /etc/haproxy/cert.pem expires in 11 days",
        settings={"traffic.certificate": "/etc/haproxy/cert.pem"},
        around=certificate_until(timedelta(days=12)),
    ),
    Fault(
        "certificate that has ended in a directory of several",
        "error",
        LB,
        "the certificate /etc/haproxy/certs/old.pem expired on",
        settings={"traffic.certificate": "/etc/haproxy/certs/"},
        around=certificate_directory,
    ),
    Fault(
        "certificate that has ended",
        "error",
        LB,
        "the certificate /etc/haproxy/cert.pem expired on",
        settings={"traffic.certificate": "/etc/haproxy/cert.pem"},
        around=certificate_until(timedelta(days=-1)),
    ),
    Fault(
        "droplet that carries the tags of the live color",
        "error",
        "evil",
        "it carries the tag of the live color (watched:green) and is not proven to belong there",
        around=stranger,
        stops=True,
    ),
    Fault(
        "droplet of the live color whose host key is another's",
        "error",
        "green-2",
        "not proven to belong there: watched-green-2 (",
        settings={"fleet.droplets_per_color": 2},
        around=impostor,
        stops=True,
    ),
    Fault(
        "droplet that is new in the live color",
        "warning",
        "green-2",
        "it is new in the live color (green) and has no release instead of",
        settings={"fleet.droplets_per_color": 2},
        around=newcomer,
    ),
    Fault(
        "live droplet that is off",
        "warning",
        GREEN,
        "is 'off' instead of active; power it on",
        around=powered_off,
    ),
    Fault(
        "gradual shift",
        "error",
        "proxies",
        "blue is given 10 % of the requests (idle_share in traffic.map); end that first",
        on=LB,
        broken=SET_SHARE.format(10),
        mended=SET_SHARE.format(0),
        stops=True,
    ),
    Fault("lock", "warning", LB, "deploy/run-7 (somebody, v2) holds the lock", around=held_lock),
    Fault(
        "pending switch",
        "warning",
        LB,
        "has switched to blue and has not confirmed it",
        around=unconfirmed_switch,
    ),
    Fault("switch taken back", "warning", LB, "was taken back from blue to green", around=taken_back),
    Fault(
        "disagreement",
        "error",
        "proxies",
        "watched-lb-1: blue, watched-lb-2: green",
        on=LB,
        broken=SET_MAP.format(live="blue", idle="green"),
        mended=SET_MAP.format(live="green", idle="blue"),
        stops=True,
    ),
    Fault(
        "traffic map",
        "warning",
        f"{LB} {MAP}",
        "differs from what the running HAProxy uses",
        on=LB,
        broken=f"cp -a {MAP} /root/kept && sed -i 's/live green/live blue/; s/idle blue/idle green/' {MAP}",
        mended=f"cp -a /root/kept {MAP} && rm /root/kept",
        diff="-live blue",
    ),
    Fault(
        "current",
        "warning",
        f"{BLUE} {CURRENT}",
        "runs",
        on=BLUE,
        broken=f"readlink {CURRENT} > /root/was && ln -sfn releases/$(ls /opt/app-watched/releases |"
        f" grep -v $(basename $(cat /root/was))) {CURRENT}",
        mended=f"ln -sfn $(cat /root/was) {CURRENT} && rm /root/was",
    ),
]
TOGETHER = [
    Fault(
        "SSH key that the account does not have",
        "warning",
        "fleet.ssh_keys",
        "not in the DigitalOcean account: nobody",
        settings={"fleet.ssh_keys": ["nobody"]},
    ),
    Fault(
        "VPC", "warning", "fleet.vpc", "no VPC elsewhere in region nyc3", settings={"fleet.vpc": "elsewhere"}
    ),
    Fault(
        "number of droplets",
        "warning",
        "green",
        "there are 1 droplets of 2",
        settings={"fleet.droplets_per_color": 2},
    ),
    Fault("cpanm", "error", BLUE, "cpanm is not installed", on=BLUE, **moved("/usr/bin/cpanm"), stops=True),
    Fault("carton, live", "warning", GREEN, "carton is not installed", on=GREEN, **moved("/usr/bin/carton")),
    Fault("compiler", "warning", BLUE, "no cc", on=BLUE, **moved("/usr/bin/cc")),
    Fault(
        "HAProxy at boot",
        "warning",
        LB,
        "disabled at boot",
        on=LB,
        broken="systemctl -q disable haproxy",
        mended="systemctl -q enable haproxy",
    ),
    Fault(
        "haproxy.cfg",
        "warning",
        f"{LB} /etc/haproxy/haproxy.cfg",
        "differs",
        on=LB,
        diff="-# by hand",
        **edited("/etc/haproxy/haproxy.cfg"),
    ),
    Fault(
        "agent",
        "warning",
        f"{LB} {agent_bundle().path}",
        "differs",
        on=LB,
        diff="it is packed differently",
        **edited(agent_bundle().path),
    ),
    Fault("unit", "warning", f"{BLUE} {UNIT}", "differs", on=BLUE, diff="-# by hand", **edited(UNIT)),
    Fault(
        "drop-in",
        "warning",
        f"{GREEN} {UNIT}",
        "it is changed by /run/systemd/system/app-watched.service.d/by-hand.conf",
        on=GREEN,
        broken="mkdir /run/systemd/system/app-watched.service.d"
        " && cd /run/systemd/system/app-watched.service.d"
        " && printf '[Service]\\nNice=1\\n' > by-hand.conf" + RELOAD,
        mended="rm -r /run/systemd/system/app-watched.service.d" + RELOAD,
    ),
    Fault(
        "file of a release",
        "warning",
        f"{GREEN} {CURRENT}/app.psgi",
        "it is not as it was built",
        on=GREEN,
        **edited(f"{CURRENT}/app.psgi"),
    ),
    Fault(
        "mode of a file of a release",
        "warning",
        f"{GREEN} {CURRENT}/REVISION",
        "its mode is 600 instead of 644",
        on=GREEN,
        broken=f"chmod 600 {CURRENT}/REVISION",
        mended=f"chmod 644 {CURRENT}/REVISION",
    ),
    Fault(
        "file that was added to a release",
        "warning",
        f"{GREEN} {CURRENT}/lib/ByHand.pm",
        "it was added",
        on=GREEN,
        broken=f"touch {CURRENT}/lib/ByHand.pm",
        mended=f"rm {CURRENT}/lib/ByHand.pm",
    ),
    Fault(
        "manifest",
        "warning",
        f"{BLUE} {CURRENT}/.bluegreen/manifest",
        "its digest is",
        on=BLUE,
        **edited(f"{CURRENT}/.bluegreen/manifest"),
    ),
    Fault(
        "record of an activation",
        "warning",
        f"{BLUE} {CURRENT}",
        "was never healthy there",
        on=BLUE,
        broken=f"mkdir /root/record && mv /opt/app-watched/activated/$({RELEASE}).* /root/record/",
        mended="mv /root/record/* /opt/app-watched/activated/ && rmdir /root/record",
    ),
    Fault(
        "configuration",
        "warning",
        f"{BLUE} configuration",
        "its files are not as they were delivered",
        on=BLUE,
        broken=f"cp -a {ENVIRONMENT} /root/environment && echo BY_HAND=1 | tee -a {ENVIRONMENT} >/dev/null",
        mended=f"cp -a /root/environment {ENVIRONMENT} && rm /root/environment",
    ),
    Fault(
        "environment that was changed in Airflow",
        "warning",
        f"{GREEN} configuration",
        "the app's environment or files were changed in Airflow",
        settings={"environment": {"NEW": "value"}},
    ),
]
