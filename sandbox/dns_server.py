"""The name server of the account's domains: authoritative, over UDP."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from sandbox.api.account import Account
from sandbox.api.domain_records import Domain, DomainRecord

PORT = 53
# Bytes of an answer that every client takes.
LARGEST_ANSWER = 512

log = logging.getLogger(__name__)


class NameServer(asyncio.DatagramProtocol):
    """Answers for the domains of an account.

    :param account: the records.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to answer."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question; what is none is not answered."""
        answer = answer_to(self._account, data)
        if answer is not None:
            self._transport.sendto(answer.to_wire(max_size=LARGEST_ANSWER, prefer_truncation=True), addr)


async def serve(account: Account, host: str, port: int = PORT) -> asyncio.BaseTransport | None:
    """Serve an account's domains; without the port, which somebody else may have, there is no name server."""
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: NameServer(account), local_addr=(host, port)
        )
    except OSError as error:
        log.warning("there is no name server: %s", error)
        return None
    return transport


def answer_to(account: Account, data: bytes) -> dns.message.Message | None:
    """Return the answer to a question, or ``None`` if it is none."""
    try:
        question = dns.message.from_wire(data)
    except dns.exception.DNSException:
        return None
    if question.flags & dns.flags.QR or len(question.question) != 1:
        return None
    answer = dns.message.make_response(question)
    [asked] = question.question
    name = asked.name.to_text(omit_final_dot=True).lower()
    domain = _domain_of(account, name)
    if domain is None:
        answer.set_rcode(dns.rcode.REFUSED)
        return answer
    answer.flags |= dns.flags.AA
    records = _records(domain, name, dns.rdatatype.to_text(asked.rdtype))
    for one in records or []:
        text = f'"{one.data}"' if one.type == "TXT" else one.data
        answer.answer.append(
            dns.rrset.from_text(
                asked.name, one.ttl, dns.rdataclass.IN, dns.rdatatype.from_text(one.type), text
            )
        )
    if records is None:
        answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer


def _domain_of(account: Account, name: str) -> Domain | None:
    found = [one for one in account.domains.values() if name == one.name or name.endswith(f".{one.name}")]
    return max(found, key=lambda one: len(one.name), default=None)


def _records(domain: Domain, name: str, kind: str) -> list[DomainRecord] | None:
    """Return a name's records of a kind; ``None`` if there is no such name."""
    names = {one.full_name(domain.name).lower() for one in domain.records.values()}
    if name not in names:
        name = f"*.{name.partition('.')[2]}"
    if name not in names:
        return None
    return domain.answers(name, kind) or domain.answers(name, "CNAME")
