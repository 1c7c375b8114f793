"""What can be broken on a watched fleet at once, and hides nothing else."""

from __future__ import annotations

from bluegreen.agent_bundle import agent_bundle
from tests.sandbox.watch_fault import (
    BLUE,
    CURRENT,
    ENVIRONMENT,
    GREEN,
    LB,
    RELEASE,
    RELOAD,
    UNIT,
    Fault,
    edited,
    moved,
)

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
