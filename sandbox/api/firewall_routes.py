"""Request handlers of Cloud Firewalls."""

from __future__ import annotations

import re

from aiohttp import web

from sandbox.api.account import Account
from sandbox.api.context import ACCOUNT
from sandbox.api.errors import ApiError, invalid, not_found
from sandbox.api.firewall_records import CloudFirewall, read_rules
from sandbox.api.perimeter import protecting
from sandbox.api.records import Json
from sandbox.api.requests import body_of, field_of, id_of, page_of

NO_CONTENT = 204
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.\-]+")


def _firewall(request: web.Request) -> CloudFirewall:
    account: Account = request.app[ACCOUNT]
    found = account.firewalls.get(request.match_info["firewall"])
    if found is None:
        raise not_found()
    return found


def _read(body: Json, account: Account, existing: CloudFirewall | None = None) -> CloudFirewall:
    name = field_of(body, "name", str)
    if not NAME.fullmatch(name):
        raise invalid("name is invalid: letters, digits, dots and dashes are allowed")
    if any(one.name == name and one is not existing for one in account.firewalls.values()):
        raise ApiError(409, "conflict", "duplicate name")
    rules = [
        read_rules(body.get("inbound_rules"), "sources"),
        read_rules(body.get("outbound_rules"), "destinations"),
    ]
    inbound, outbound = rules
    if inbound is None or outbound is None:
        raise invalid("a rule is invalid")
    if not inbound and not outbound:
        raise invalid("at least one rule must be specified")
    named = [tag for rule in inbound for tag in rule["sources"].get("tags") or []]
    tags, droplets = field_of(body, "tags", list, []), field_of(body, "droplet_ids", list, [])
    _require_known(account, [*named, *tags], droplets)
    return CloudFirewall(name, inbound, outbound, list(tags), list(droplets))


def _require_known(account: Account, tags: list[str], droplets: list[int]) -> None:
    if unknown := [tag for tag in tags if tag not in account.tags]:
        raise invalid(f"tag {unknown[0]} does not exist")
    if any(droplet not in account.droplets for droplet in droplets):
        raise invalid("a droplet does not exist")


async def list_firewalls(request: web.Request) -> web.Response:
    shown = [one.show() for one in request.app[ACCOUNT].firewalls.values()]
    return web.json_response(page_of(request, "firewalls", shown))


async def create_firewall(request: web.Request) -> web.Response:
    account = request.app[ACCOUNT]
    firewall = _read(await body_of(request), account)
    account.firewalls[firewall.id] = firewall
    return web.json_response({"firewall": firewall.show(changed=True)}, status=202)


async def show_firewall(request: web.Request) -> web.Response:
    return web.json_response({"firewall": _firewall(request).show()})


async def update_firewall(request: web.Request) -> web.Response:
    firewall, account = _firewall(request), request.app[ACCOUNT]
    wanted = _read(await body_of(request), account, firewall)
    firewall.name, firewall.inbound, firewall.outbound = wanted.name, wanted.inbound, wanted.outbound
    firewall.tags, firewall.droplet_ids = wanted.tags, wanted.droplet_ids
    return web.json_response({"firewall": firewall.show(changed=True)})


async def delete_firewall(request: web.Request) -> web.Response:
    del request.app[ACCOUNT].firewalls[_firewall(request).id]
    return web.Response(status=NO_CONTENT)


async def list_droplet_firewalls(request: web.Request) -> web.Response:
    account = request.app[ACCOUNT]
    found = protecting(account, account.droplet(id_of(request, "droplet")))
    return web.json_response(page_of(request, "firewalls", [one.show() for one in found]))


ROUTES = [
    web.route("GET", "/v2/firewalls", list_firewalls),
    web.route("POST", "/v2/firewalls", create_firewall),
    web.route("GET", "/v2/firewalls/{firewall}", show_firewall),
    web.route("PUT", "/v2/firewalls/{firewall}", update_firewall),
    web.route("DELETE", "/v2/firewalls/{firewall}", delete_firewall),
    web.route("GET", "/v2/droplets/{droplet}/firewalls", list_droplet_firewalls),
]
