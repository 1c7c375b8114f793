"""Request handlers of load balancers and reserved IPs."""

from __future__ import annotations

from aiohttp import web

from sandbox.api import balancer_request
from sandbox.api.catalog import REGIONS
from sandbox.api.context import ACCOUNT, EDGE
from sandbox.api.edge_records import LoadBalancer, ReservedIp
from sandbox.api.errors import invalid, not_found
from sandbox.api.records import Action, Droplet, Json
from sandbox.api.requests import body_of, field_of, id_of, page_of

NO_CONTENT = 204


def _balancer(request: web.Request) -> LoadBalancer:
    found = request.app[ACCOUNT].load_balancers.get(request.match_info["balancer"])
    if found is None:
        raise not_found()
    return found


def _show_balancer(request: web.Request, balancer: LoadBalancer) -> Json:
    return balancer.show(request.app[ACCOUNT].targets(balancer))


async def list_balancers(request: web.Request) -> web.Response:
    shown = [_show_balancer(request, one) for one in request.app[ACCOUNT].load_balancers.values()]
    return web.json_response(page_of(request, "load_balancers", shown))


async def create_balancer(request: web.Request) -> web.Response:
    account = request.app[ACCOUNT]
    balancer = balancer_request.read(await body_of(request), account)
    request.app[EDGE].serve(balancer)
    return web.json_response({"load_balancer": _show_balancer(request, balancer)}, status=202)


async def show_balancer(request: web.Request) -> web.Response:
    return web.json_response({"load_balancer": _show_balancer(request, _balancer(request))})


async def update_balancer(request: web.Request) -> web.Response:
    balancer = _balancer(request)
    wanted = balancer_request.read(await body_of(request), request.app[ACCOUNT])
    for name in ("region", "vpc_uuid"):
        if getattr(wanted, name) != getattr(balancer, name):
            raise invalid(f"{name} can not be changed")
    balancer.name, balancer.settings = wanted.name, wanted.settings
    balancer.tag, balancer.droplet_ids = wanted.tag, wanted.droplet_ids
    return web.json_response({"load_balancer": _show_balancer(request, balancer)})


async def delete_balancer(request: web.Request) -> web.Response:
    del request.app[ACCOUNT].load_balancers[_balancer(request).id]
    return web.Response(status=NO_CONTENT)


async def change_droplets(request: web.Request) -> web.Response:
    balancer = _balancer(request)
    if balancer.tag:
        raise invalid("droplets of a load balancer with a tag can not be changed")
    identifiers = field_of(await body_of(request), "droplet_ids", list, [])
    balancer_request.check_droplets(identifiers, balancer.region, request.app[ACCOUNT])
    kept = [one for one in balancer.droplet_ids if one not in identifiers]
    balancer.droplet_ids = kept + (identifiers if request.method == "POST" else [])
    return web.Response(status=NO_CONTENT)


async def change_rules(request: web.Request) -> web.Response:
    balancer = _balancer(request)
    rules = balancer_request.rules_of(await body_of(request))
    kept = [rule for rule in balancer.settings["forwarding_rules"] if rule not in rules]
    changed = kept + (rules if request.method == "POST" else [])
    if not changed:
        raise invalid("at least one forwarding rule is required")
    balancer_request.check_ports(changed)
    balancer.settings = {**balancer.settings, "forwarding_rules": changed}
    return web.Response(status=NO_CONTENT)


def _reserved(request: web.Request) -> ReservedIp:
    found = request.app[ACCOUNT].reserved_ips.get(request.match_info["ip"])
    if found is None:
        raise not_found()
    return found


def _show_reserved(request: web.Request, reserved: ReservedIp) -> Json:
    return reserved.show(request.app[ACCOUNT].holder(reserved))


def _wanted_droplet(request: web.Request, body: Json) -> Droplet:
    droplet = request.app[ACCOUNT].droplets.get(field_of(body, "droplet_id", int))
    if droplet is None:
        raise invalid("Droplet not found.")
    return droplet


async def list_reserved(request: web.Request) -> web.Response:
    shown = [_show_reserved(request, one) for one in request.app[ACCOUNT].reserved_ips.values()]
    return web.json_response(page_of(request, "reserved_ips", shown))


async def reserve(request: web.Request) -> web.Response:
    body = await body_of(request)
    if ("droplet_id" in body) == ("region" in body):
        raise invalid("exactly one of droplet_id and region must be specified")
    droplet = _wanted_droplet(request, body) if "droplet_id" in body else None
    region = droplet.region if droplet else field_of(body, "region", str)
    if region not in REGIONS:
        raise invalid("Region is invalid")
    account = request.app[ACCOUNT]
    if len(account.reserved_ips) >= account.show()["reserved_ip_limit"]:
        raise invalid("You have reached the limit of Reserved IPs on your account.")
    reserved, action = request.app[EDGE].reserve(region, droplet)
    origin = request.url.origin()
    actions = [{"id": action.id, "rel": action.type, "href": f"{origin}/v2/actions/{action.id}"}]
    droplets = [
        {"id": one.id, "rel": "droplet", "href": f"{origin}/v2/droplets/{one.id}"} for one in [droplet] if one
    ]
    answer = {
        "reserved_ip": _show_reserved(request, reserved),
        "links": {"droplets": droplets, "actions": actions},
    }
    return web.json_response(answer, status=202)


async def show_reserved(request: web.Request) -> web.Response:
    return web.json_response({"reserved_ip": _show_reserved(request, _reserved(request))})


async def release(request: web.Request) -> web.Response:
    request.app[EDGE].release(_reserved(request))
    return web.Response(status=NO_CONTENT)


async def act_on_reserved(request: web.Request) -> web.Response:
    reserved = _reserved(request)
    body = await body_of(request)
    kind = field_of(body, "type", str)
    if kind not in ("assign", "unassign"):
        raise invalid(f"{kind} is not a valid action for this Reserved IP")
    droplet = _wanted_droplet(request, body) if kind == "assign" else None
    action = request.app[EDGE].assign(reserved, droplet)
    return web.json_response({"action": _show_action(reserved, action)}, status=201)


def _show_action(reserved: ReservedIp, action: Action) -> Json:
    return {**action.show(), "project_id": reserved.project_id}


async def list_reserved_actions(request: web.Request) -> web.Response:
    reserved = _reserved(request)
    actions = request.app[ACCOUNT].ip_actions_of(reserved)
    return web.json_response(page_of(request, "actions", [_show_action(reserved, one) for one in actions]))


async def show_reserved_action(request: web.Request) -> web.Response:
    reserved = _reserved(request)
    wanted = id_of(request, "action")
    for action in request.app[ACCOUNT].ip_actions_of(reserved):
        if action.id == wanted:
            return web.json_response({"action": _show_action(reserved, action)})
    raise not_found()


ROUTES = [
    web.route("GET", "/v2/load_balancers", list_balancers),
    web.route("POST", "/v2/load_balancers", create_balancer),
    web.route("GET", "/v2/load_balancers/{balancer}", show_balancer),
    web.route("PUT", "/v2/load_balancers/{balancer}", update_balancer),
    web.route("DELETE", "/v2/load_balancers/{balancer}", delete_balancer),
    web.route("POST", "/v2/load_balancers/{balancer}/droplets", change_droplets),
    web.route("DELETE", "/v2/load_balancers/{balancer}/droplets", change_droplets),
    web.route("POST", "/v2/load_balancers/{balancer}/forwarding_rules", change_rules),
    web.route("DELETE", "/v2/load_balancers/{balancer}/forwarding_rules", change_rules),
    web.route("GET", "/v2/reserved_ips", list_reserved),
    web.route("POST", "/v2/reserved_ips", reserve),
    web.route("GET", "/v2/reserved_ips/{ip}", show_reserved),
    web.route("DELETE", "/v2/reserved_ips/{ip}", release),
    web.route("GET", "/v2/reserved_ips/{ip}/actions", list_reserved_actions),
    web.route("POST", "/v2/reserved_ips/{ip}/actions", act_on_reserved),
    web.route("GET", "/v2/reserved_ips/{ip}/actions/{action}", show_reserved_action),
]
