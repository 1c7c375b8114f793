"""Whether the firewalls are at work: which ports have answered, from Airflow and between the droplets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.facts.ports import NO_ANSWER, OPEN, REFUSED
from bluegreen.checks.facts import Facts, Machine
from bluegreen.checks.finding import Finding, error, warning
from bluegreen.errors import FleetError
from bluegreen.fleet.droplets import Droplet
from bluegreen.fleet.firewalls import (
    Firewall,
    Opening,
    applying_to,
    choose_firewall,
    is_as_wanted,
    openings_of,
    wanted_firewalls,
)
from bluegreen.fleet.port_trials import PortTrial

# Machines that a line names.
MOST_NAMES = 5
TRIES = "does not answer in two tries"


def ports(facts: Facts) -> Iterator[Finding]:
    """Airflow and the proxies reach what they need, and the firewalls drop what they have to."""
    machines = _machines(facts)
    answers = [(one, _answer(facts, machines, one)) for one in facts.port_trials]
    locked_out = [
        trial.target.name
        for trial, answer in answers
        # A machine that has answered by SSH was reached.
        if trial.is_ssh_by_airflow and answer == NO_ANSWER and trial.target.id not in machines
    ]
    if locked_out:
        yield _locked_out(facts, locked_out)
    cut_off, let_in = defaultdict(list), defaultdict(list)
    promised = _promised(facts)
    for trial, answer in answers:
        key = trial.target, trial.port
        # Whatever an unreachable machine does not answer is one finding, of another check.
        if trial.is_wanted and trial.source and answer == NO_ANSWER and trial.target.id in machines:
            cut_off[key].append(trial)
        # On the way from Airflow, somebody else's firewall may refuse what it does not let out.
        is_let_in = answer == OPEN or (answer == REFUSED and trial.source is not None)
        if is_let_in and not trial.is_wanted and _is_dropped(promised.get(trial.target.id), trial.port):
            let_in[key].append((trial, answer))
    for (target, _), trials in cut_off.items():
        yield _cut_off(facts, target, trials)
    for (target, _), found in let_in.items():
        yield _let_in(facts, target, found)


def _locked_out(facts: Facts, names: Sequence[str]) -> Finding:
    return warning(
        _named(names),
        f"port 22 should be open to Airflow, and {TRIES}",
        "if Airflow has another address now, correct fleet.ssh_from and run "
        f"bluegreen_provision__{facts.app.id}; otherwise see whether they run, and whether a firewall "
        "there (ufw, nftables) keeps it out",
    )


def _cut_off(facts: Facts, target: Droplet, trials: Sequence[PortTrial]) -> Finding:
    judge, names = error if facts.is_needed(target) else warning, _named([one.by for one in trials])
    return judge(
        target.name,
        f"port {trials[0].port} ({trials[0].address}) should be open to {names}, and {TRIES}",
        f"run bluegreen_provision__{facts.app.id}; if that changes nothing, look for a firewall there (ufw, "
        "nftables)",
    )


def _let_in(facts: Facts, target: Droplet, found: Sequence[tuple[PortTrial, str | None]]) -> Finding:
    (trial, answer), names = found[0], _named([one.by for one, _ in found])
    how = "is open to them" if answer == OPEN else "refuses them, so that nothing drops what they send"
    return warning(
        target.name,
        f"port {trial.port} ({trial.address}) should be closed to {names}, and {how}",
        "the rules of its firewall are right, so see at DigitalOcean whether the firewall applies to it; run "
        f"bluegreen_provision__{facts.app.id} if it does not",
    )


def _machines(facts: Facts) -> dict[int, Machine]:
    """Return what the machines have reported, by the droplet's id."""
    return {droplet.id: one for droplet, one in (*facts.read_proxies(), *facts.read_servers())}


def _answer(facts: Facts, machines: Mapping[int, Machine], trial: PortTrial) -> str | None:
    if trial.source is None:
        return facts.airflow_ports.get(trial.asked.label)
    machine = machines.get(trial.source.id)
    return machine.ports.get(trial.asked.label) if machine else None


def _promised(facts: Facts) -> dict[int, list[Opening]]:
    """Return what other firewalls open of each droplet whose own has the right rules, by its id.

    What is wrong with rules or tags is a finding already, and what another firewall opens is intended.
    """
    found, fleet = facts.account.firewalls, facts.fleet
    if found is None:
        return {}
    wanted = wanted_firewalls(facts.app, facts.account.balancer)
    names = {one.name for one in wanted}
    promised = {}
    for firewall, members in zip(wanted, (fleet.proxies, fleet.blue + fleet.green), strict=True):
        if not _is_right(firewall, found):
            continue
        for droplet in members:
            if droplet.has_tag(firewall.tag):
                others = [one for one in applying_to([droplet], found) if one.get("name") not in names]
                promised[droplet.id] = [opening for one in others for opening in openings_of(one)]
    return promised


def _is_right(wanted: Firewall, found: Sequence[dict[str, Any]]) -> bool:
    try:
        existing = choose_firewall(wanted, found)
    except FleetError:
        return False
    return existing is not None and is_as_wanted(wanted, existing)


def _is_dropped(opened: Sequence[Opening] | None, port: int) -> bool:
    return opened is not None and not any(one.has_tcp_port(port) for one in opened)


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
