"""The backing services that an app leans on, and how a droplet reaches them: the section ``services``."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from agent.services import COMMAND, KINDS, LONGEST_CHECK, MOST_SERVICES, NAME
from bluegreen.patterns import VARIABLE, whole
from bluegreen.settings.fields import Words, check_program
from bluegreen.settings.section import Line, Section, hidden

LONGEST_URL = 1000
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_][A-Za-z0-9._-]{0,252}):([0-9]{1,5})")


def _address(value: str) -> str:
    found = _ADDRESS.fullmatch(value)
    if found is None or not 1 <= int(found[2]) <= 65535:
        raise ValueError('allowed are host and port in quotes, such as "10.0.0.5:5432" or "[fd00::5]:6379"')
    _refuse_link_local(found[1].strip("[]"))
    return value


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise hidden("it is no URL") from None
    if parts.scheme not in ("http", "https") or not host or len(url) > LONGEST_URL:
        raise hidden(f"allowed are http://… and https://…, of at most {LONGEST_URL} characters")
    if "@" in parts.netloc:
        raise hidden("a password does not belong in this file; url_from names a variable that has the URL")
    if not url.isascii() or re.search(r"\s", url):
        raise hidden("a URL has no blanks, and letters of ASCII only; percent-encode others")
    _refuse_link_local(host)
    return url


def _refuse_link_local(host: str) -> None:
    """Refuse what no app reaches.

    :raises ValueError: if the host is such an address.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return
    if (getattr(address, "ipv4_mapped", None) or address).is_link_local:
        raise ValueError("apps do not reach link-local addresses, the metadata service least of all")


Variable = Annotated[str, Field(pattern=whole(VARIABLE))]


class Service(Section):
    """A backing service, and what shows that a droplet reaches it: one of the keys besides ``timeout``."""

    address: Annotated[Line, AfterValidator(_address)] | None = None
    """Host and port in quotes, such as "10.0.0.5:5432". Reached if it takes a TCP connection."""
    url: Annotated[Line, AfterValidator(_url)] | None = None
    """A URL with http:// or https://, and no password. Reached if it answers with a status below 500;
    redirects are not followed.
    """
    address_from: Variable | None = None
    """A variable of the app's environment that has the address: a URL, such as postgresql://…, or a DBI data
    source.
    """
    url_from: Variable | None = None
    """A variable of the app's environment that has such a URL. A user and a password in it are not sent."""
    command: Annotated[Words, AfterValidator(check_program)] | None = None
    """A list of words, run in the release. Reached if its exit status is 0."""
    timeout: Annotated[int, Field(ge=1, le=LONGEST_CHECK)] = 5
    """Seconds that one try may take."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len([key for key in KINDS if getattr(self, key) is not None]) != 1:
            raise hidden(f"exactly one of {', '.join(KINDS[:-1])} and {COMMAND} is needed")
        return self

    @property
    def kind(self) -> str:
        """How it is reached: the key that is set."""
        return next(key for key in KINDS if getattr(self, key) is not None)


ServiceName = Annotated[str, Field(pattern=whole(NAME))]
Services = Annotated[dict[ServiceName, Service], Field(max_length=MOST_SERVICES)]
