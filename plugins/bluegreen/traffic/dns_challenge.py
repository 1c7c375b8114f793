"""The TXT records that answer a certificate authority's challenges (dns-01, RFC 8555, 8.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rdatatype

from bluegreen.errors import BlueGreenError

# Seconds for one answer of a name server, and its port.
ANSWER_SECONDS, PORT = 3.0, 53


class DnsChallengeError(BlueGreenError):
    """A record of a challenge could not be made, or is not answered."""


class UnansweredError(DnsChallengeError):
    """A name server does not have a record yet, or cannot be reached on port 53 from Airflow's machine."""

    transient = True


@dataclass(frozen=True, order=True)
class ChallengeRecord:
    """A TXT record.

    :param zone: the domain at DigitalOcean that it is in.
    :param name: its full name, such as ``_acme-challenge.www.example.com``.
    """

    zone: str
    name: str
    value: str

    @property
    def label(self) -> str:
        """The name as the zone's records have it: without the zone."""
        return self.name.removesuffix(f".{self.zone}")


def challenge_records(wanted: Iterable[tuple[str, str]], zones: Sequence[str]) -> list[ChallengeRecord]:
    """Return the records for some challenges.

    :param wanted: the full name and the value of each. A name and its wildcard have one name, and two values.
    :param zones: the domains at DigitalOcean.
    :raises DnsChallengeError: naming what is in none of them.
    """
    found, missing = [], []
    for name, value in wanted:
        candidates = [zone for zone in zones if name.endswith(f".{zone}")]
        if candidates:
            found.append(ChallengeRecord(max(candidates, key=len), name, value))
        else:
            missing.append(name.removeprefix("_acme-challenge."))
    if missing:
        raise DnsChallengeError(
            f"{', '.join(dict.fromkeys(missing))} is in no domain at DigitalOcean (there are: "
            f"{', '.join(sorted(zones)[:10]) or 'none'}); add the domain there, or use http-01"
        )
    return found


def require_answers(records: Sequence[ChallengeRecord], servers: Mapping[str, Mapping[str, str]]) -> None:
    """Ask every name server for every record.

    :param servers: by zone, the address of each of its name servers by the server's name.
    :raises UnansweredError: naming the first one that does not have a record.
    """
    for record in records:
        for server, address in servers[record.zone].items():
            if (why := _why_not(record, address)) is not None:
                raise UnansweredError(f"name server {server} {why} {record.name}")


def _why_not(record: ChallengeRecord, address: str) -> str | None:
    question = dns.message.make_query(record.name, dns.rdatatype.TXT)
    # Another server's answer would be from a cache, which may have been asked too early.
    question.flags &= ~dns.flags.RD
    try:
        answer, _ = dns.query.udp_with_fallback(question, address, ANSWER_SECONDS, PORT)
    except (dns.exception.DNSException, OSError) as error:
        return f"does not answer on port 53 ({type(error).__name__}) when asked for"
    values = {
        b"".join(one.strings).decode("ascii", "replace")
        for answers in answer.answer
        if answers.rdtype == dns.rdatatype.TXT
        for one in answers
    }
    return None if record.value in values else "does not have"
