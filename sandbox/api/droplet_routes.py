"""Request handlers of droplets and what is done to them."""

from __future__ import annotations

from aiohttp import web

from sandbox.api import droplet_request
from sandbox.api.context import ACCOUNT, OPERATIONS
from sandbox.api.errors import invalid, not_found
from sandbox.api.records import Action, Droplet, Json
from sandbox.api.requests import body_of, field_of, id_of, page_of


def _droplet(request: web.Request) -> Droplet:
    return request.app[ACCOUNT].droplet(id_of(request, "droplet"))


async def list_droplets(request: web.Request) -> web.Response:
    droplets = list(request.app[ACCOUNT].droplets.values())
    if "tag_name" in request.query:
        droplets = request.app[ACCOUNT].tagged(request.query["tag_name"])
    if "name" in request.query:
        wanted = request.query["name"].lower()
        droplets = [droplet for droplet in droplets if droplet.name.lower() == wanted]
    if request.query.get("type") == "gpus":
        droplets = []
    return web.json_response(page_of(request, "droplets", [droplet.show() for droplet in droplets]))


async def create_droplets(request: web.Request) -> web.Response:
    wanted = droplet_request.read(await body_of(request), request.app[ACCOUNT])
    droplets, actions = request.app[OPERATIONS].create(wanted)
    shown = [droplet.show() for droplet in droplets]
    answer: Json = {"droplet": shown[0]} if wanted.single else {"droplets": shown}
    origin = request.url.origin()
    links = [
        {"id": action.id, "rel": "create", "href": f"{origin}/v2/actions/{action.id}"} for action in actions
    ]
    return web.json_response({**answer, "links": {"actions": links}}, status=202)


async def show_droplet(request: web.Request) -> web.Response:
    return web.json_response({"droplet": _droplet(request).show()})


async def delete_droplet(request: web.Request) -> web.Response:
    request.app[OPERATIONS].delete(_droplet(request))
    return web.Response(status=204)


async def delete_by_tag(request: web.Request) -> web.Response:
    for droplet in _tagged(request):
        request.app[OPERATIONS].delete(droplet)
    return web.Response(status=204)


def _tagged(request: web.Request) -> list[Droplet]:
    name = request.query.get("tag_name", "")
    if not name:
        raise invalid("tag_name can't be blank")
    account = request.app[ACCOUNT]
    return account.tagged(account.tag(name))


async def _act(request: web.Request, droplets: list[Droplet]) -> list[Action]:
    body = await body_of(request)
    kind = field_of(body, "type", str)
    if kind == "rename" and len(droplets) == 1:
        name = field_of(body, "name", str)
        if not droplet_request.NAME.fullmatch(name):
            raise invalid("Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)")
        action = request.app[ACCOUNT].add_action(droplets[0], kind)
        droplets[0].name = name
        action.finish(succeeded=True)
        return [action]
    return [request.app[OPERATIONS].power(droplet, kind) for droplet in droplets]


async def act_on_droplet(request: web.Request) -> web.Response:
    actions = await _act(request, [_droplet(request)])
    return web.json_response({"action": actions[0].show()}, status=201)


async def act_by_tag(request: web.Request) -> web.Response:
    actions = await _act(request, _tagged(request))
    return web.json_response({"actions": [action.show() for action in actions]}, status=201)


async def list_droplet_actions(request: web.Request) -> web.Response:
    actions = request.app[ACCOUNT].actions_of(_droplet(request).id)
    return web.json_response(page_of(request, "actions", [action.show() for action in actions]))


async def show_droplet_action(request: web.Request) -> web.Response:
    wanted = id_of(request, "action")
    for action in request.app[ACCOUNT].actions_of(_droplet(request).id):
        if action.id == wanted:
            return web.json_response({"action": action.show()})
    raise not_found()


async def list_snapshots(request: web.Request) -> web.Response:
    _droplet(request)
    return web.json_response(page_of(request, "snapshots", []))


async def list_neighbors(request: web.Request) -> web.Response:
    _droplet(request)
    return web.json_response({"droplets": []})


ROUTES = [
    web.route("GET", "/v2/droplets", list_droplets),
    web.route("POST", "/v2/droplets", create_droplets),
    web.route("DELETE", "/v2/droplets", delete_by_tag),
    web.route("POST", "/v2/droplets/actions", act_by_tag),
    web.route("GET", "/v2/droplets/{droplet}", show_droplet),
    web.route("DELETE", "/v2/droplets/{droplet}", delete_droplet),
    web.route("GET", "/v2/droplets/{droplet}/actions", list_droplet_actions),
    web.route("POST", "/v2/droplets/{droplet}/actions", act_on_droplet),
    web.route("GET", "/v2/droplets/{droplet}/actions/{action}", show_droplet_action),
    web.route("GET", "/v2/droplets/{droplet}/snapshots", list_snapshots),
    web.route("GET", "/v2/droplets/{droplet}/neighbors", list_neighbors),
]
