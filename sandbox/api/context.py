"""What the request handlers share."""

from __future__ import annotations

from aiohttp import web

from sandbox.api.account import Account
from sandbox.api.edge_operations import EdgeOperations
from sandbox.api.faults import Faults
from sandbox.api.limits import Limits
from sandbox.api.operations import Operations
from sandbox.api.perimeter import Perimeter

ACCOUNT = web.AppKey("account", Account)
EDGE = web.AppKey("edge", EdgeOperations)
FAULTS = web.AppKey("faults", Faults)
LIMITS = web.AppKey("limits", Limits)
OPERATIONS = web.AppKey("operations", Operations)
PERIMETER = web.AppKey("perimeter", Perimeter)
TOKEN = web.AppKey("token", str)
