"""Request handlers of domains and their DNS records."""

from __future__ import annotations

import ipaddress
import re

from aiohttp import web

from sandbox.api.account import Account
from sandbox.api.context import ACCOUNT
from sandbox.api.domain_records import DEFAULT_TTL, Domain, DomainRecord
from sandbox.api.errors import invalid, not_found
from sandbox.api.records import Json
from sandbox.api.requests import body_of, field_of, id_of, page_of

NO_CONTENT = 204
DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
NAME = re.compile(r"@|(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,250}[A-Za-z0-9_])?|\*")
TYPES = ("A", "AAAA", "CNAME", "NS", "TXT")
SHORTEST_TTL = 30


def _account(request: web.Request) -> Account:
    return request.app[ACCOUNT]


def _domain(request: web.Request) -> Domain:
    found = _account(request).domains.get(request.match_info["domain"].lower())
    if found is None:
        raise not_found()
    return found


def _record(request: web.Request) -> DomainRecord:
    found = _domain(request).records.get(id_of(request, "record"))
    if found is None:
        raise not_found()
    return found


async def list_domains(request: web.Request) -> web.Response:
    shown = [one.show() for one in _account(request).domains.values()]
    return web.json_response(page_of(request, "domains", shown))


async def create_domain(request: web.Request) -> web.Response:
    body = await body_of(request)
    name = field_of(body, "name", str).lower()
    if not DOMAIN.fullmatch(name):
        raise invalid("Name is invalid")
    if name in _account(request).domains:
        raise invalid("Name already exists")
    domain = _account(request).add_domain(name)
    if address := field_of(body, "ip_address", str, ""):
        _add(_account(request), domain, {"type": "A", "name": "@", "data": address})
    shown = {"name": name, "ttl": None, "zone_file": None}
    return web.json_response({"domain": shown}, status=201)


async def show_domain(request: web.Request) -> web.Response:
    return web.json_response({"domain": _domain(request).show()})


async def delete_domain(request: web.Request) -> web.Response:
    del _account(request).domains[_domain(request).name]
    return web.Response(status=NO_CONTENT)


async def list_records(request: web.Request) -> web.Response:
    domain, query = _domain(request), request.query
    found = [
        one.show()
        for one in domain.records.values()
        if query.get("type", one.type) == one.type
        and query.get("name", one.full_name(domain.name)).lower() == one.full_name(domain.name).lower()
    ]
    return web.json_response(page_of(request, "domain_records", found))


async def create_record(request: web.Request) -> web.Response:
    domain, body = _domain(request), await body_of(request)
    return web.json_response({"domain_record": _add(_account(request), domain, body).show()}, status=201)


def _add(account: Account, domain: Domain, body: Json) -> DomainRecord:
    kind, name = field_of(body, "type", str), field_of(body, "name", str, "@")
    data, ttl = field_of(body, "data", str), field_of(body, "ttl", int, DEFAULT_TTL)
    if kind not in TYPES:
        raise invalid("Type is invalid")
    if not NAME.fullmatch(name):
        raise invalid("Name Only valid hostname characters are allowed. (a-z, A-Z, 0-9, ., _ and -)")
    if ttl < SHORTEST_TTL:
        raise invalid(f"TTL must be at least {SHORTEST_TTL} seconds")
    if kind in ("A", "AAAA"):
        try:
            ipaddress.ip_address(data)
        except ValueError:
            raise invalid("Data needs to be a valid IP address") from None
    if kind == "CNAME" and not data.endswith("."):
        raise invalid("Data needs to end with a dot (.)")
    return account.add_record(domain, kind, name, data, ttl)


async def show_record(request: web.Request) -> web.Response:
    return web.json_response({"domain_record": _record(request).show()})


async def delete_record(request: web.Request) -> web.Response:
    del _domain(request).records[_record(request).id]
    return web.Response(status=NO_CONTENT)


ROUTES = [
    web.route("GET", "/v2/domains", list_domains),
    web.route("POST", "/v2/domains", create_domain),
    web.route("GET", "/v2/domains/{domain}", show_domain),
    web.route("DELETE", "/v2/domains/{domain}", delete_domain),
    web.route("GET", "/v2/domains/{domain}/records", list_records),
    web.route("POST", "/v2/domains/{domain}/records", create_record),
    web.route("GET", "/v2/domains/{domain}/records/{record}", show_record),
    web.route("DELETE", "/v2/domains/{domain}/records/{record}", delete_record),
]
