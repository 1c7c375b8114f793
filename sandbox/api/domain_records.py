"""Domains of an account with their DNS records, and how DigitalOcean shows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.api.records import Json

DEFAULT_TTL = 1800


@dataclass
class DomainRecord:
    """A DNS record.

    :param name: without the domain; ``@`` for the domain itself.
    :param data: of a name, with a dot at its end.
    """

    id: int
    type: str
    name: str
    data: str
    ttl: int = DEFAULT_TTL

    def show(self) -> Json:
        """Return the API's form of it."""
        unused = dict.fromkeys(("priority", "port", "weight", "flags", "tag"))
        return {**vars(self), **unused}

    def full_name(self, domain: str) -> str:
        """Return its full name, without a dot at the end."""
        return domain if self.name == "@" else f"{self.name}.{domain}"


@dataclass
class Domain:
    """A domain that DigitalOcean's name servers answer for."""

    name: str
    records: dict[int, DomainRecord] = field(default_factory=dict)

    def show(self) -> Json:
        """Return the API's form of it."""
        lines = [f"$ORIGIN {self.name}.", f"$TTL {DEFAULT_TTL}"]
        lines += [
            f"{one.full_name(self.name)}. {one.ttl} IN {one.type} {one.data}" for one in self.records.values()
        ]
        return {"name": self.name, "ttl": DEFAULT_TTL, "zone_file": "\n".join([*lines, ""])}

    def answers(self, name: str, kind: str) -> list[DomainRecord]:
        """Return the records of a kind that have a full name."""
        return [
            one
            for one in self.records.values()
            if one.type == kind and one.full_name(self.name).lower() == name.lower()
        ]
