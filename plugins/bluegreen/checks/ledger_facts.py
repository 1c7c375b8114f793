"""What is known about the ledgers of the proxies."""

from __future__ import annotations

from pydantic import Field

from bluegreen.checks.release_facts import Fact


class LedgerRecord(Fact):
    """A record of the ledger, which is compared with those of other proxies.

    :param run: which run it is of.
    :param digest: of the whole record but its link, which is each proxy's own; the others are for people.
    :param presumed: whether another run has completed it, by what that one knew.
    :param ledgers: what the run has seen as the last digest of each proxy's ledger, by the proxy's name.
    """

    run: str
    digest: str
    presumed: bool = False
    ledgers: dict[str, str] = Field(default_factory=dict)
    subject: str | None = None
    revision: str | None = None
    release: str | None = None
    triggered_by: str | None = None
    approved_by: str | None = None
    outcome: str | None = None
    ended: str | None = None


class LedgerChain(Fact):
    """The ledger of a proxy, examined there: see :mod:`agent.proxy.ledger_chain`.

    :param unread: why it was not examined; then nothing else is known of it.
    :param problems: what is not as it was written, in words.
    :param digests: the beginnings of the SHA-256 of its last lines.
    """

    lines: int
    unread: str | None = None
    problems: tuple[str, ...]
    digests: tuple[str, ...]
    recent: tuple[LedgerRecord, ...]
