"""Checks of the ledgers: whoever is root on one proxy cannot rewrite what the others have seen.

Each proxy has a chain of its own. A proxy that was away lacks records, and that is no finding: records are
known by their runs, and whoever removes one breaks the chain, or loses a digest that another proxy has seen.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.proxy.ledger_chain import COMPARED, DIGEST_LENGTH
from bluegreen.checks.facts import Facts
from bluegreen.checks.finding import Finding, warning
from bluegreen.checks.ledger_facts import LedgerChain, LedgerRecord

_ADVICE = (
    "unless one of you has edited or removed the file, somebody else was root there:"
    " follow docs/incidents.md, and do not delete it"
)
_DIFFERENT_ADVICE = "compare both with Airflow's copy, as docs/incidents.md says"
_TRIED_AGAIN = "; the task report leaves that, too, if its worker died and it was tried again"


def chains(facts: Facts) -> Iterator[Finding]:
    """Every line of a ledger has the digest of the line before."""
    for droplet, proxy in facts.read_proxies():
        if proxy.ledger and proxy.ledger.unread:
            yield warning(
                droplet.name,
                f"its ledger was not examined: {proxy.ledger.unread}",
                "look at /var/lib/bluegreen/ledger.jsonl there: its size, its rights, the disk",
            )
    for name, ledger in ledgers_of(facts).items():
        for problem in ledger.problems:
            yield warning(name, f"its ledger was changed: {problem}", _ADVICE)


def rewritten(facts: Facts) -> Iterator[Finding]:
    """What runs have seen of a ledger is still in it, whatever its own chain claims."""
    for name, ledger in ledgers_of(facts).items():
        known = set(ledger.digests)
        missing = {
            record.run: None
            for record in _last_records(facts)
            if (head := record.ledgers.get(name)) and head[:DIGEST_LENGTH] not in known
        }
        if missing:
            yield warning(
                name,
                f"its ledger lacks what {len(missing)} of the last runs have seen there, among them"
                f" {next(reversed(missing))}: it was rewritten, or the droplet was rebuilt or restored",
                "if nobody did the latter, somebody was root there: follow docs/incidents.md",
            )


def different(facts: Facts) -> Iterator[Finding]:
    """All proxies have the same record of a run, to the last field."""
    seen: dict[str, tuple[str, LedgerRecord]] = {}
    for name, ledger in ledgers_of(facts).items():
        for record in ledger.recent:
            if record.presumed:
                # Each proxy's next run completes it by what it knows.
                continue
            other, same = seen.setdefault(record.run, (name, record))
            if record.digest != same.digest:
                fields = [key for key in COMPARED if getattr(record, key) != getattr(same, key)]
                yield warning(
                    f"{other}, {name}",
                    f"their ledgers differ in the record of {record.run}: {', '.join(fields) or 'details'}"
                    # Two tries have two moments.
                    f"{_TRIED_AGAIN if 'ended' in fields else ''}",
                    _DIFFERENT_ADVICE,
                )


def missing_records(facts: Facts) -> dict[str, tuple[int, int]]:
    """Return, by proxy, how many of the last runs its ledger lacks, and how many runs that are."""
    ledgers = ledgers_of(facts)
    runs = list(dict.fromkeys(record.run for record in _last_records(facts)))
    having = {name: {record.run for record in ledger.recent} for name, ledger in ledgers.items()}
    return {name: (sum(run not in having[name] for run in runs), len(runs)) for name in ledgers}


def ledgers_of(facts: Facts) -> dict[str, LedgerChain]:
    """Return the ledgers that were examined, by the names of their proxies."""
    read = {droplet.name: proxy.ledger for droplet, proxy in facts.read_proxies()}
    return {name: ledger for name, ledger in read.items() if ledger and not ledger.unread}


def _last_records(facts: Facts) -> list[LedgerRecord]:
    """All proxies' records of the last runs; each proxy's oldest first."""
    return [record for ledger in ledgers_of(facts).values() for record in ledger.recent]
