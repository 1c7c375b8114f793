"""The one process of a sandbox: owns network and machines, runs the API and the other servers."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import ssl
from collections.abc import Callable, Mapping

import trustme

from sandbox import debian_mirror, dns_server, git_http, network
from sandbox.api import admin
from sandbox.api.account import Account
from sandbox.api.app import make_app
from sandbox.api.context import OPERATIONS
from sandbox.api.faults import Faults
from sandbox.cpan import server as cpan
from sandbox.cpan import stock
from sandbox.debian_mirror import DebianMirror
from sandbox.delay import Delays
from sandbox.edge import Edge
from sandbox.errors import SandboxError
from sandbox.git_ssh import USER, SshForge
from sandbox.layout import Layout
from sandbox.machines import Machines
from sandbox.network import FORGE_HTTP, FORGE_HTTPS, FORGE_SSH, Network
from sandbox.processes import ProcessId
from sandbox.services import SERVICES, HttpListener, Service, runner_of

API_PORT = 8443
CPAN_HTTP, CPAN_HTTPS = 8083, 8084
DEBIAN_HTTP = 8085
log = logging.getLogger(__name__)


def serve(layout: Layout, parent: int | None = None) -> None:
    """Run a sandbox until SIGTERM or SIGINT, then take it down.

    :param layout: its files; nothing of an earlier sandbox may be left there.
    :param parent: the process id of this process's parent, if the sandbox is to end with it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    me = ProcessId.of(os.getpid())
    if me is None:
        raise SandboxError("this process is not in /proc")
    layout.server.write_text(json.dumps({**me.to_json(), "directory": str(layout.directory)}))
    net = network.create(layout.directory)
    debian = DebianMirror(f"http://{net.gateway}:{DEBIAN_HTTP}")
    machines = Machines(layout, net, debian)
    edge = Edge(layout, net, machines)
    try:
        asyncio.run(_run(layout, net, debian, machines, edge, me, parent))
    finally:
        layout.description.unlink(missing_ok=True)
        edge.stop_all()
        machines.destroy_all()
        network.remove(layout.directory)


async def _run(
    layout: Layout,
    net: Network,
    debian: DebianMirror,
    machines: Machines,
    edge: Edge,
    me: ProcessId,
    parent: int | None,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if parent is not None:
        _when_ended(parent, stop.set)
    token = "dop_v1_" + secrets.token_hex(32)
    certificate = _certificate(layout, net)
    services = {name: Service(Faults()) for name in SERVICES}
    account = Account(net.private, net.gateway)
    api = make_app(token, account, machines, edge, services["api"].faults)
    api[admin.MACHINES] = machines
    api[admin.DELAYS] = Delays(net)
    api[admin.SERVICES] = services
    api.add_routes(admin.ROUTES)
    # The API takes no part in the fault `away`: the sandbox is controlled at the same port.
    await HttpListener(await runner_of(api), net.gateway, API_PORT, certificate).start()
    names = await dns_server.serve(account, net.gateway)
    packages = await runner_of(debian_mirror.make_app(debian, services["debian"].faults))
    await services["debian"].listen(HttpListener(packages, net.gateway, DEBIAN_HTTP))
    description = {
        "name": layout.name,
        "api_url": f"https://{net.gateway}:{API_PORT}",
        "token": token,
        "ca_file": str(layout.certificate_authority),
        "gateway": net.gateway,
        "public_network": net.public,
        "private_network": net.private,
        "repositories": str(layout.repositories),
        "pid": me.pid,
        **await _start_forge(layout, net, services["forge"], certificate),
        **await _start_cpan(layout, net, services["cpan"], certificate),
    }
    _describe(layout, description)
    log.info("up at %s", net.gateway)
    await stop.wait()
    log.info("going down")
    for service in services.values():
        await service.clear()
    if names is not None:
        names.close()
    layout.description.unlink(missing_ok=True)
    await api[OPERATIONS].finish()


def _when_ended(parent: int, call: Callable[[], None]) -> None:
    descriptor = os.pidfd_open(parent)
    # Readable once the process has ended. If that was before, somebody else is the parent by now.
    asyncio.get_running_loop().add_reader(descriptor, call)
    if os.getppid() != parent:
        call()


async def _start_forge(
    layout: Layout, net: Network, service: Service, certificate: ssl.SSLContext
) -> dict[str, str]:
    """Serve the repositories; return how they are reached."""
    token = "forge_" + secrets.token_hex(16)
    runner = await runner_of(git_http.make_app(layout.repositories, service.faults, token))
    shell = SshForge(net.gateway, FORGE_SSH, layout.repositories, service.faults, layout.forge)
    await service.listen(
        HttpListener(runner, net.gateway, FORGE_HTTP),
        HttpListener(runner, net.gateway, FORGE_HTTPS, certificate),
        shell,
    )
    return {
        "git_url": f"http://{net.gateway}:{FORGE_HTTP}/git",
        "forge_url": f"https://{net.gateway}:{FORGE_HTTPS}/git",
        "forge_ssh_url": f"ssh://{USER}@{net.gateway}:{FORGE_SSH}/git",
        "forge_token": token,
        "forge_known_hosts": str(shell.known_hosts),
        "deploy_key": str(shell.deploy_key),
    }


async def _start_cpan(
    layout: Layout, net: Network, service: Service, certificate: ssl.SSLContext
) -> dict[str, str]:
    """Serve the CPAN mirror; return how it is reached."""
    token = "cpan_" + secrets.token_hex(16)
    mirrors = cpan.Mirrors(layout.cpan, stock.present)
    runner = await runner_of(cpan.make_app(mirrors, service.faults, token))
    await service.listen(
        HttpListener(runner, net.gateway, CPAN_HTTP),
        HttpListener(runner, net.gateway, CPAN_HTTPS, certificate),
    )
    return {
        "cpan_url": f"http://{net.gateway}:{CPAN_HTTP}/cpan",
        "cpan_https_url": f"https://{net.gateway}:{CPAN_HTTPS}/cpan",
        "private_cpan_url": f"https://{net.gateway}:{CPAN_HTTPS}/private-cpan",
        "cpan_token": token,
    }


def _certificate(layout: Layout, net: Network) -> ssl.SSLContext:
    authority = trustme.CA(organization_name="Sandbox")
    authority.cert_pem.write_to_path(str(layout.certificate_authority))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(net.gateway, "localhost").configure_cert(context)
    return context


def _describe(layout: Layout, description: Mapping[str, object]) -> None:
    """Write sandbox.json; its existence means that the sandbox is ready."""
    half_written = layout.description.with_suffix(".tmp")
    half_written.touch(mode=0o600)
    half_written.write_text(json.dumps(description, indent=2) + "\n")
    half_written.rename(layout.description)
