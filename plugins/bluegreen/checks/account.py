"""Checks of DigitalOcean's account and of the fleet as its API describes it."""

from __future__ import annotations

from collections.abc import Iterator

from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.errors import BlueGreenError, FleetError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.fleet.firewalls import (
    applying_to,
    choose_firewall,
    differences,
    opened_by,
    untagged,
    wanted_firewalls,
)
from bluegreen.fleet.vpc import own_vpc_name

# A deploy reads only droplets; these are for provisioning. Reading cannot reveal rights to write.
_NEEDED_FOR_PROVISIONING = {
    "ssh_keys": ("fleet.ssh_keys", "give the token the scope ssh_key:read, or correct the setting"),
    "vpc": ("fleet.vpc", "give the token the scopes vpc:read and vpc:create, or correct the setting"),
    "entry_point": ("fleet.entry_point", "give the token the scopes that it needs"),
    "firewalls": ("fleet.firewalls", "give the token the scopes firewall:read, create and update"),
}


def account(facts: Facts) -> Iterator[Finding]:
    """DigitalOcean's API answers, and the token may read what is needed."""
    if isinstance(facts.account.droplets, BlueGreenError):
        conn, problem = facts.app.connections.digitalocean, str(facts.account.droplets)
        # The API's message does not name the missing scope.
        advice = "give its token the scope droplet:read; " if "(403)" in problem else ""
        yield error(f"connection {conn}", problem, f"{advice}nothing about the droplets is known until then")
    for key, problem in facts.account.problems.items():
        subject, advice = _NEEDED_FOR_PROVISIONING[key]
        yield warning(subject, f"provisioning would fail: {problem}", advice)


def roles(facts: Facts) -> Iterator[Finding]:
    """Every droplet has one role, an address, and power."""
    _, problems = Fleet.sorted(_all(facts), facts.app.fleet.tags)
    for droplet, problem in problems.items():
        yield error(droplet.name, problem, "correct its tags in DigitalOcean's panel")
    if not isinstance(facts.account.droplets, BlueGreenError):
        for problem in facts.fleet.problems(of=()):
            subject = next((one.name for one in facts.fleet.droplets if one.name in problem), "fleet")
            yield error(subject, problem, "no deploy starts until this is fixed")
        for droplet in facts.fleet.droplets:
            for problem in droplet.problems:
                if facts.is_needed(droplet):
                    yield error(droplet.name, problem, "no deploy starts until this is fixed")
                else:
                    yield warning(droplet.name, problem, "it has no traffic until then")


def joining(facts: Facts) -> Iterator[Finding]:
    """Every droplet that would join the live color is proven to belong there."""
    for objection in facts.joining.refused:
        yield error(objection.droplet.name, objection.what, objection.advice)
    for objection in facts.joining.left_out:
        yield warning(objection.droplet.name, objection.what, objection.advice)


def completeness(facts: Facts) -> Iterator[Finding]:
    """There are as many droplets as in the settings, and the idle color is no weaker than the live one."""
    fleet, settings = facts.fleet, facts.app.fleet
    wanted = {
        "proxies": (len(fleet.proxies), settings.proxies),
        "blue": (len(fleet.blue), settings.droplets_per_color),
        "green": (len(fleet.green), settings.droplets_per_color),
    }
    for role, (there, asked) in wanted.items():
        if 0 < there < asked:
            yield warning(
                role, f"there are {there} droplets of {asked}", f"run bluegreen_provision__{facts.app.id}"
            )
    if facts.live is None:
        return
    live, idle = fleet.color(facts.live), fleet.color(facts.live.other)
    capacities = {
        "droplets": (len(live), len(idle)),
        "MB of memory": (sum(one.memory for one in live), sum(one.memory for one in idle)),
        "processors": (sum(one.vcpus for one in live), sum(one.vcpus for one in idle)),
    }
    for what, (of_live, of_idle) in capacities.items():
        if of_idle < of_live:
            yield warning(
                str(facts.live.other),
                f"it has {of_idle} {what}, {facts.live} has {of_live}",
                "add or resize droplets before traffic moves there",
            )


def network(facts: Facts) -> Iterator[Finding]:
    """Proxies reach every droplet, because all are in one VPC network, and nobody else is there."""
    fleet = facts.fleet
    homes = {droplet.vpc for droplet in fleet.proxies if droplet.vpc}
    for droplet in fleet.blue + fleet.green:
        if homes and droplet.vpc and droplet.vpc not in homes:
            judge = error if facts.is_needed(droplet) else warning
            yield judge(
                droplet.name,
                "it is in another VPC network than the proxies, which cannot reach it",
                "replace it by one in their network",
            )
    home = facts.account.vpc
    for droplet in fleet.proxies:
        if home and droplet.vpc and droplet.vpc != home.id:
            yield warning(
                droplet.name,
                "it is not in the VPC network of the settings",
                "correct fleet.vpc, or new droplets will not reach it",
            )
    if home and facts.app.fleet.vpc is None and homes == {home.id} and home.name != own_vpc_name(facts.app):
        yield warning(
            "fleet.vpc",
            f"the droplets are in the VPC network {home.name}, which is not the app's own, and a droplet "
            "cannot leave its network",
            f"set fleet.vpc to {home.name} to leave it so, or give the app a new fleet (docs/install.md)",
        )


def entry_point(facts: Facts) -> Iterator[Finding]:
    """The managed load balancer passes on every port that clients need."""
    tls = facts.app.traffic.tls
    for port in facts.account.closed_ports:
        sent = ", to which clients are redirected" if port == 443 and tls and tls.redirect else ""
        yield warning(
            "fleet.entry_point",
            f"the managed load balancer has no rule for port {port}{sent}",
            f"run bluegreen_provision__{facts.app.id}",
        )


def firewalls(facts: Facts) -> Iterator[Finding]:
    """The droplets let in what the settings say, and nothing else."""
    found, fleet, app = facts.account.firewalls, facts.fleet, facts.app
    if found is None or isinstance(facts.account.droplets, BlueGreenError):
        return
    provision = f"run bluegreen_provision__{app.id}"
    wanted = wanted_firewalls(app, facts.account.balancer)
    names = {one.name for one in wanted}
    for firewall, members in zip(wanted, (fleet.proxies, fleet.blue + fleet.green), strict=True):
        try:
            existing = choose_firewall(firewall, found)
        except FleetError as problem:
            yield warning(firewall.name, f"provisioning would fail: {problem}", "do that first")
            continue
        for line in differences(firewall, existing):
            yield warning(firewall.name, line, provision)
        others = [one for one in applying_to(members, found) if one.get("name") not in names]
        for name, line in opened_by(others, firewall):
            yield warning(name, line, "close it there if that is not intended")
    for tag, droplets in untagged(fleet, app).items():
        for droplet in droplets:
            yield warning(droplet.name, f"it lacks the tag {tag}, so no firewall protects it", provision)
    if not app.fleet.ssh_from:
        yield warning("fleet.ssh_from", "SSH is open to everybody", "set it to Airflow's addresses")


def _all(facts: Facts) -> tuple[Droplet, ...]:
    return () if isinstance(facts.account.droplets, BlueGreenError) else facts.account.droplets
