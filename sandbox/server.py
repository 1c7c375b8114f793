"""The one process of a sandbox: owns network and machines, serves the API and the repositories."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import ssl

import trustme
from aiohttp import web

from sandbox import git_http, network
from sandbox.api import admin
from sandbox.api.account import Account
from sandbox.api.app import make_app
from sandbox.api.context import OPERATIONS
from sandbox.api.faults import Faults
from sandbox.delay import Delays
from sandbox.edge import Edge
from sandbox.errors import SandboxError
from sandbox.layout import Layout
from sandbox.machines import Machines
from sandbox.network import Network
from sandbox.processes import ProcessId

API_PORT, GIT_PORT = 8443, 8080
log = logging.getLogger(__name__)


def serve(layout: Layout) -> None:
    """Run a sandbox until SIGTERM or SIGINT, then take it down.

    :param layout: its files; nothing of an earlier sandbox may be left there.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    me = ProcessId.of(os.getpid())
    if me is None:
        raise SandboxError("this process is not in /proc")
    layout.server.write_text(json.dumps(me.to_json()))
    net = network.create(layout.directory)
    machines = Machines(layout, net)
    edge = Edge(layout, net, machines)
    try:
        asyncio.run(_run(layout, net, machines, edge, me))
    finally:
        layout.description.unlink(missing_ok=True)
        edge.stop_all()
        machines.destroy_all()
        network.remove(layout.directory)


async def _run(layout: Layout, net: Network, machines: Machines, edge: Edge, me: ProcessId) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    token = "dop_v1_" + secrets.token_hex(32)
    faults = Faults()
    api = make_app(token, Account(net.private), machines, edge, faults)
    api[admin.MACHINES] = machines
    api[admin.DELAYS] = Delays(net)
    api.add_routes(admin.ROUTES)
    git = git_http.make_app(layout.repositories, faults)
    await _listen(api, net.gateway, API_PORT, _certificate(layout, net))
    await _listen(git, net.gateway, GIT_PORT, None)
    _describe(layout, net, token, me)
    log.info("up at %s", net.gateway)
    await stop.wait()
    log.info("going down")
    faults.clear()
    layout.description.unlink(missing_ok=True)
    await api[OPERATIONS].finish()


async def _listen(app: web.Application, host: str, port: int, context: ssl.SSLContext | None) -> None:
    runner = web.AppRunner(app, shutdown_timeout=0, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()


def _certificate(layout: Layout, net: Network) -> ssl.SSLContext:
    authority = trustme.CA(organization_name="Sandbox")
    authority.cert_pem.write_to_path(str(layout.certificate_authority))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(net.gateway, "localhost").configure_cert(context)
    return context


def _describe(layout: Layout, net: Network, token: str, me: ProcessId) -> None:
    """Write sandbox.json; its existence means that the sandbox is ready."""
    description = {
        "name": layout.name,
        "api_url": f"https://{net.gateway}:{API_PORT}",
        "token": token,
        "ca_file": str(layout.certificate_authority),
        "gateway": net.gateway,
        "public_network": net.public,
        "private_network": net.private,
        "git_url": f"http://{net.gateway}:{GIT_PORT}/git",
        "repositories": str(layout.repositories),
        "pid": me.pid,
    }
    half_written = layout.description.with_suffix(".tmp")
    half_written.touch(mode=0o600)
    half_written.write_text(json.dumps(description, indent=2) + "\n")
    half_written.rename(layout.description)
