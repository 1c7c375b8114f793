"""The sandbox's own controls beside the API: ``/sandbox/…``, with the API's token."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from aiohttp import web

from sandbox.api.context import ACCOUNT, LIMITS, OPERATIONS
from sandbox.api.faults import Fault
from sandbox.api.records import Droplet, Json
from sandbox.api.requests import body_of, field_of
from sandbox.delay import Delays
from sandbox.errors import SandboxError
from sandbox.machine_faults import FAULTS as MACHINE_FAULTS
from sandbox.machines import Machines
from sandbox.services import Service

MACHINES = web.AppKey("machines", Machines)
DELAYS = web.AppKey("delays", Delays)
SERVICES = web.AppKey("services", dict[str, Service])
POWER = {"power-on": "power_on", "power-off": "power_off"}


def _show(request: web.Request, droplet: Droplet) -> Json:
    shown: Json = {
        "droplet": droplet.id,
        "name": droplet.name,
        "status": droplet.status,
        "public_address": droplet.public_address,
        "private_address": droplet.private_address,
        "tags": droplet.tags,
        "phantom": droplet.phantom,
        "init": None,
        "link_is_up": True,
        "directory": None,
    }
    if not droplet.phantom:
        try:
            machine = request.app[MACHINES].machine(droplet.id)
        except SandboxError:
            return shown
        init = machine.init if machine.running else None
        shown |= {
            "init": init.to_json() if init else None,
            "link_is_up": machine.link_is_up,
            "directory": str(machine.directory),
        }
    return shown


def _find(request: web.Request) -> Droplet:
    wanted = request.match_info["machine"]
    found = [
        droplet
        for droplet in request.app[ACCOUNT].droplets.values()
        if wanted in (droplet.name, str(droplet.id), droplet.public_address, droplet.private_address)
    ]
    if len(found) == 1:
        return found[0]
    raise SandboxError(f"{len(found) or 'no'} machines are called {wanted}")


async def list_machines(request: web.Request) -> web.Response:
    droplets = request.app[ACCOUNT].droplets.values()
    return web.json_response({"machines": [_show(request, droplet) for droplet in droplets]})


async def list_addresses(request: web.Request) -> web.Response:
    """List the addresses that are not a droplet's own, with the names of the droplets that they lead to."""
    account = request.app[ACCOUNT]
    found: list[tuple[str, str, list[Droplet]]] = []
    for balancer in account.load_balancers.values():
        found.append(("load balancer", balancer.ip or balancer.status, account.targets(balancer)))
    for reserved in account.reserved_ips.values():
        holder = account.holder(reserved)
        found.append(("reserved IP", reserved.ip, [holder] if holder else []))
    shown = [
        {"kind": kind, "address": address, "droplets": [droplet.name for droplet in droplets]}
        for kind, address, droplets in found
    ]
    return web.json_response({"addresses": shown})


async def show_machine(request: web.Request) -> web.Response:
    return web.json_response({"machine": _show(request, _find(request))})


async def disturb_machine(request: web.Request) -> web.Response:
    droplet = _find(request)
    body = await body_of(request)
    name = field_of(body, "fault", str)
    result: object = None
    if name in ("hide-private", "show-private"):
        droplet.hide_private = name == "hide-private"
    elif name in POWER:
        action = request.app[OPERATIONS].power(droplet, POWER[name])
        while action.status == "in-progress":
            await asyncio.sleep(0.01)
        if action.status == "errored":
            raise SandboxError(f"{name} of {droplet.name} failed: see the server's log")
    elif name in ("delay", "undelay"):
        await _delay(request, droplet, field_of(body, "argument", str, "0") if name == "delay" else "")
    elif name in MACHINE_FAULTS:
        machine = request.app[MACHINES].machine(droplet.id)
        argument = field_of(body, "argument", str, "")
        result = await asyncio.to_thread(MACHINE_FAULTS[name], machine, argument)
    else:
        raise SandboxError(f"no fault {name!r}")
    return web.json_response({"machine": _show(request, droplet), "result": result})


async def _delay(request: web.Request, droplet: Droplet, milliseconds: str) -> None:
    if milliseconds and not milliseconds.isdecimal():
        raise SandboxError(f"{milliseconds!r} is no number of milliseconds")
    for address in filter(None, (droplet.public_address, droplet.private_address)):
        if milliseconds:
            await request.app[DELAYS].set(address, int(milliseconds) / 1000)
        else:
            await request.app[DELAYS].end(address)


async def list_faults(request: web.Request) -> web.Response:
    faults = [
        {"service": name, **asdict(fault)}
        for name, service in request.app[SERVICES].items()
        for fault in service.faults.active
    ]
    return web.json_response({"faults": faults})


async def add_fault(request: web.Request) -> web.Response:
    body = await body_of(request)
    name = field_of(body, "service", str)
    services = request.app[SERVICES]
    if name not in services:
        raise SandboxError(f"no service {name!r}: there are {', '.join(services)}")
    fault = Fault.from_json({key: value for key, value in body.items() if key != "service"})
    await services[name].add(fault)
    return web.json_response({"fault": {"service": name, **asdict(fault)}}, status=201)


async def clear_faults(request: web.Request) -> web.Response:
    for service in request.app[SERVICES].values():
        await service.clear()
    return web.Response(status=204)


async def add_phantoms(request: web.Request) -> web.Response:
    body = await body_of(request)
    made = request.app[ACCOUNT].add_phantoms(
        field_of(body, "count", int, 1),
        field_of(body, "name", str, "phantom"),
        field_of(body, "tags", list, []),
        private=field_of(body, "private", bool, True),
    )
    return web.json_response({"droplets": [droplet.id for droplet in made]}, status=201)


async def change_limits(request: web.Request) -> web.Response:
    """Set the limits that are given, and forget the requests so far."""
    limits = request.app[LIMITS]
    body = await body_of(request)
    for name in ("hourly", "burst", "key_lists"):
        setattr(limits, name, field_of(body, name, int, getattr(limits, name)))
    limits.reset()
    return web.json_response({name: getattr(limits, name) for name in ("hourly", "burst", "key_lists")})


ROUTES = [
    web.route("GET", "/sandbox/machines", list_machines),
    web.route("GET", "/sandbox/addresses", list_addresses),
    web.route("GET", "/sandbox/machines/{machine}", show_machine),
    web.route("POST", "/sandbox/machines/{machine}/faults", disturb_machine),
    web.route("GET", "/sandbox/faults", list_faults),
    web.route("POST", "/sandbox/faults", add_fault),
    web.route("DELETE", "/sandbox/faults", clear_faults),
    web.route("POST", "/sandbox/phantoms", add_phantoms),
    web.route("POST", "/sandbox/limits", change_limits),
]
