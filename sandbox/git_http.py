"""Git repositories over smart HTTP: ``git http-backend`` behind aiohttp."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from aiohttp import web

from sandbox.api.faults import Faults, Handler

REPOSITORIES = web.AppKey("repositories", Path)
LARGEST_REQUEST = 64 * 2**20


def make_app(repositories: Path, faults: Faults) -> web.Application:
    """Serve the bare repositories of a directory, read-only, as ``/git/<name>.git``.

    :param faults: the faults to inject; their patterns match ``/git/…`` paths.
    """

    @web.middleware
    async def disturb(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await faults.handle(request, handler)

    app = web.Application(middlewares=[disturb], client_max_size=LARGEST_REQUEST)
    app[REPOSITORIES] = repositories
    app.add_routes([web.route("GET", "/git/{path:.+}", _serve), web.route("POST", "/git/{path:.+}", _serve)])
    return app


async def _serve(request: web.Request) -> web.Response:
    body = await request.read()
    environment = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "GIT_PROJECT_ROOT": str(request.app[REPOSITORIES]),
        "GIT_HTTP_EXPORT_ALL": "1",
        # The server is root, but the repositories may belong to the user who started the sandbox.
        "GIT_CONFIG_COUNT": "3",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
        # As forges do: allow partial clones, and serve every object by its id.
        "GIT_CONFIG_KEY_1": "uploadpack.allowFilter",
        "GIT_CONFIG_VALUE_1": "true",
        "GIT_CONFIG_KEY_2": "uploadpack.allowAnySHA1InWant",
        "GIT_CONFIG_VALUE_2": "true",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "PATH_INFO": f"/{request.match_info['path']}",
        "QUERY_STRING": request.query_string,
        "REQUEST_METHOD": request.method,
        "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "REMOTE_ADDR": request.remote or "",
        "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, problem = await process.communicate(body)
    head, separator, content = output.partition(b"\r\n\r\n")
    if not separator:
        return web.Response(status=500, text=problem.decode(errors="replace"))
    lines = (line.partition(":") for line in head.decode().split("\r\n"))
    headers = {name: value.strip() for name, _, value in lines}
    status = int(headers.pop("Status", "200").split()[0])
    return web.Response(status=status, headers=headers, body=content)
