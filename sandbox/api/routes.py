"""Request handlers of the account, its keys, tags, VPCs and actions, and of the catalog."""

from __future__ import annotations

from aiohttp import web

from sandbox.api import catalog, vpc_request
from sandbox.api.account import Account
from sandbox.api.context import ACCOUNT
from sandbox.api.errors import invalid, not_found
from sandbox.api.records import Droplet, Json
from sandbox.api.requests import body_of, field_of, id_of, page_of

NO_CONTENT = 204


def _account(request: web.Request) -> Account:
    return request.app[ACCOUNT]


async def show_account(request: web.Request) -> web.Response:
    return web.json_response({"account": _account(request).show()})


async def list_regions(request: web.Request) -> web.Response:
    return web.json_response(page_of(request, "regions", list(catalog.REGIONS.values())))


async def list_sizes(request: web.Request) -> web.Response:
    return web.json_response(page_of(request, "sizes", list(catalog.SIZES.values())))


async def list_images(request: web.Request) -> web.Response:
    images = list(catalog.IMAGES.values())
    if request.query.get("type") == "application" or request.query.get("private") == "true":
        images = []
    return web.json_response(page_of(request, "images", images))


async def show_image(request: web.Request) -> web.Response:
    image = catalog.find_image(request.match_info["image"])
    if image is None:
        raise not_found()
    return web.json_response({"image": image})


async def list_keys(request: web.Request) -> web.Response:
    keys = [key.show() for key in _account(request).keys.values()]
    return web.json_response(page_of(request, "ssh_keys", keys))


async def create_key(request: web.Request) -> web.Response:
    body = await body_of(request)
    key = _account(request).add_key(field_of(body, "name", str), field_of(body, "public_key", str))
    return web.json_response({"ssh_key": key.show()}, status=201)


async def show_key(request: web.Request) -> web.Response:
    return web.json_response({"ssh_key": _account(request).key(request.match_info["key"]).show()})


async def rename_key(request: web.Request) -> web.Response:
    key = _account(request).key(request.match_info["key"])
    key.name = field_of(await body_of(request), "name", str)
    return web.json_response({"ssh_key": key.show()})


async def delete_key(request: web.Request) -> web.Response:
    del _account(request).keys[_account(request).key(request.match_info["key"]).id]
    return web.Response(status=NO_CONTENT)


def _show_tag(request: web.Request, name: str) -> Json:
    tagged = _account(request).tagged(name)
    droplets: Json = {"count": len(tagged)}
    if tagged:
        droplets["last_tagged_uri"] = f"{request.url.origin()}/v2/droplets/{tagged[-1].id}"
    others = {kind: {"count": 0} for kind in ("images", "volumes", "volume_snapshots", "databases")}
    return {"name": name, "resources": {**droplets, "droplets": droplets, **others}}


async def list_tags(request: web.Request) -> web.Response:
    tags = [_show_tag(request, name) for name in sorted(_account(request).tags)]
    return web.json_response(page_of(request, "tags", tags))


async def create_tag(request: web.Request) -> web.Response:
    name = _account(request).add_tag(field_of(await body_of(request), "name", str))
    return web.json_response({"tag": _show_tag(request, name)}, status=201)


async def show_tag(request: web.Request) -> web.Response:
    name = _account(request).tag(request.match_info["tag"])
    return web.json_response({"tag": _show_tag(request, name)})


async def delete_tag(request: web.Request) -> web.Response:
    _account(request).delete_tag(request.match_info["tag"])
    return web.Response(status=NO_CONTENT)


async def _resources(request: web.Request) -> tuple[str, list[Droplet]]:
    account = _account(request)
    tag = account.tag(request.match_info["tag"])
    droplets = []
    for resource in field_of(await body_of(request), "resources", list):
        kind = resource.get("resource_type") if isinstance(resource, dict) else None
        number = str(resource.get("resource_id", "")) if isinstance(resource, dict) else ""
        if kind != "droplet":
            raise invalid("resource_type must be droplet (in this sandbox)")
        if not number.isdecimal():
            raise not_found()
        droplets.append(account.droplet(int(number)))
    return tag, droplets


async def tag_resources(request: web.Request) -> web.Response:
    tag, droplets = await _resources(request)
    for droplet in droplets:
        if tag not in droplet.tags:
            droplet.tags.append(tag)
    return web.Response(status=NO_CONTENT)


async def untag_resources(request: web.Request) -> web.Response:
    tag, droplets = await _resources(request)
    for droplet in droplets:
        if tag in droplet.tags:
            droplet.tags.remove(tag)
    return web.Response(status=NO_CONTENT)


async def list_vpcs(request: web.Request) -> web.Response:
    vpcs = [vpc.show() for vpc in _account(request).vpcs.values()]
    return web.json_response(page_of(request, "vpcs", vpcs))


async def create_vpc(request: web.Request) -> web.Response:
    wanted = vpc_request.read(await body_of(request), _account(request))
    return web.json_response({"vpc": _account(request).add_vpc(**wanted).show()}, status=201)


async def show_vpc(request: web.Request) -> web.Response:
    return web.json_response({"vpc": _account(request).vpc(request.match_info["vpc"]).show()})


async def update_vpc(request: web.Request) -> web.Response:
    vpc, account = _account(request).vpc(request.match_info["vpc"]), _account(request)
    body = await body_of(request)
    name = vpc_request.name_of(body, account, vpc) if request.method == "PUT" or "name" in body else vpc.name
    description = vpc_request.description_of(body, vpc.description)
    if field_of(body, "default", bool, False):
        account.make_default(vpc)
    vpc.name, vpc.description = name, description
    return web.json_response({"vpc": vpc.show()})


async def delete_vpc(request: web.Request) -> web.Response:
    _account(request).delete_vpc(request.match_info["vpc"])
    return web.Response(status=NO_CONTENT)


async def list_vpc_members(request: web.Request) -> web.Response:
    vpc = _account(request).vpc(request.match_info["vpc"])
    kind = request.query.get("resource_type")
    members = [
        {"name": one.name, "urn": urn, "created_at": one.created_at}
        for urn, one in _account(request).members(vpc.id).items()
        if kind is None or urn.split(":")[1] == kind
    ]
    return web.json_response(page_of(request, "members", members))


async def list_actions(request: web.Request) -> web.Response:
    actions = [action.show() for action in reversed(_account(request).actions.values())]
    return web.json_response(page_of(request, "actions", actions))


async def show_action(request: web.Request) -> web.Response:
    action = _account(request).actions.get(id_of(request, "action"))
    if action is None:
        raise not_found()
    return web.json_response({"action": action.show()})


ROUTES = [
    web.route("GET", "/v2/account", show_account),
    web.route("GET", "/v2/regions", list_regions),
    web.route("GET", "/v2/sizes", list_sizes),
    web.route("GET", "/v2/images", list_images),
    web.route("GET", "/v2/images/{image}", show_image),
    web.route("GET", "/v2/account/keys", list_keys),
    web.route("POST", "/v2/account/keys", create_key),
    web.route("GET", "/v2/account/keys/{key}", show_key),
    web.route("PUT", "/v2/account/keys/{key}", rename_key),
    web.route("DELETE", "/v2/account/keys/{key}", delete_key),
    web.route("GET", "/v2/tags", list_tags),
    web.route("POST", "/v2/tags", create_tag),
    web.route("GET", "/v2/tags/{tag}", show_tag),
    web.route("DELETE", "/v2/tags/{tag}", delete_tag),
    web.route("POST", "/v2/tags/{tag}/resources", tag_resources),
    web.route("DELETE", "/v2/tags/{tag}/resources", untag_resources),
    web.route("GET", "/v2/vpcs", list_vpcs),
    web.route("POST", "/v2/vpcs", create_vpc),
    web.route("GET", "/v2/vpcs/{vpc}", show_vpc),
    web.route("PUT", "/v2/vpcs/{vpc}", update_vpc),
    web.route("PATCH", "/v2/vpcs/{vpc}", update_vpc),
    web.route("DELETE", "/v2/vpcs/{vpc}", delete_vpc),
    web.route("GET", "/v2/vpcs/{vpc}/members", list_vpc_members),
    web.route("GET", "/v2/actions", list_actions),
    web.route("GET", "/v2/actions/{action}", show_action),
]
