"""The API as one aiohttp application: routes, token, limits, faults, and errors in DigitalOcean's form."""

from __future__ import annotations

import hmac
import json
import logging
import uuid

from aiohttp import web

from sandbox.api import domain_routes, droplet_routes, edge_routes, firewall_routes, routes
from sandbox.api.account import Account
from sandbox.api.context import ACCOUNT, EDGE, FAULTS, LIMITS, OPERATIONS, PERIMETER, TOKEN
from sandbox.api.edge import Edge
from sandbox.api.edge_operations import EdgeOperations
from sandbox.api.errors import ApiError, not_found, unauthorized
from sandbox.api.faults import Faults, Handler
from sandbox.api.hypervisor import Hypervisor
from sandbox.api.limits import Limits
from sandbox.api.operations import Operations
from sandbox.api.perimeter import Perimeter
from sandbox.errors import SandboxError

log = logging.getLogger(__name__)


def make_app(
    token: str, account: Account, hypervisor: Hypervisor, edge: Edge, faults: Faults
) -> web.Application:
    """Make the API; needs a running event loop.

    :param token: the only one that is accepted.
    :param hypervisor: runs the droplets' machines.
    :param edge: runs load balancers and moves reserved IPs.
    :param faults: what is done wrong on purpose.
    """
    app = web.Application(middlewares=[_shape], client_max_size=2**20)
    app[TOKEN] = token
    app[ACCOUNT] = account
    app[FAULTS] = faults
    app[LIMITS] = Limits()
    app[PERIMETER] = perimeter = Perimeter(account, hypervisor)
    app[OPERATIONS] = Operations(account, hypervisor, perimeter)
    app[EDGE] = operations = EdgeOperations(account, edge, perimeter)
    app.on_cleanup.append(lambda _: operations.close())
    resources = (routes, droplet_routes, edge_routes, firewall_routes, domain_routes)
    for route in (route for resource in resources for route in resource.ROUTES):
        # Not add_routes(), which would allow HEAD too.
        app.router.add_route(route.method, route.path, route.handler)
    return app


@web.middleware
async def _shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give every answer the form and the headers of DigitalOcean's."""
    if not request.path.startswith("/v2"):
        return await _answer(request, handler, [_check_token])

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _answer(request, handler, [_check_token, _check_limits])

    response = await request.app[FAULTS].handle(request, answer)
    response.headers.update(request.app[LIMITS].headers())
    response.headers.setdefault("x-request-id", str(uuid.uuid4()))
    return response


async def _answer(request: web.Request, handler: Handler, checks: list[object]) -> web.StreamResponse:
    try:
        for check in checks:
            check(request)  # type: ignore[operator]
        response = await handler(request)
        if request.method != "GET" and request.path.startswith("/v2"):
            # Tags, droplets and load balancers change who may connect, not only firewalls.
            await request.app[PERIMETER].refresh()
        return response
    except ApiError as error:
        return _error(error)
    except SandboxError as error:
        return _error(ApiError(422, "unprocessable_entity", str(error)))
    except web.HTTPMethodNotAllowed as error:
        allow = ", ".join(sorted(error.allowed_methods))
        return _error(
            ApiError(405, "method_not_allowed", f"Only {allow} can be used here.", {"Allow": allow})
        )
    except web.HTTPException as error:
        return _error(not_found() if error.status == 404 else ApiError(error.status, "error", error.reason))
    except Exception:
        log.exception("%s %s", request.method, request.path_qs)
        return _error(ApiError(500, "server_error", "Unexpected server-side error"))


def _check_token(request: web.Request) -> None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), request.app[TOKEN].encode()):
        raise unauthorized()


def _check_limits(request: web.Request) -> None:
    request.app[LIMITS].count(request.method, request.path)


def _error(error: ApiError) -> web.Response:
    body = json.dumps({"id": error.identifier, "message": error.message})
    return web.Response(
        text=body, status=error.status, headers=error.headers, content_type="application/json"
    )
