"""Git repositories over smart HTTP: ``git http-backend`` behind aiohttp; Git LFS objects, for reading."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import posixpath
import re
from pathlib import Path

from aiohttp import web

from sandbox.api.faults import Faults, FileAnswer, Handler

REPOSITORIES = web.AppKey("repositories", Path)
TOKEN = web.AppKey("token", str)
LARGEST_REQUEST = 64 * 2**20

# The folder of the repositories that may be read with a token or a deploy key only.
PRIVATE = "private/"

# For each git that serves: the server is root, but the repositories may belong to the user who started the
# sandbox. As forges do, it allows partial clones and serves every object by its id.
GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "GIT_CONFIG_COUNT": "3",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "uploadpack.allowFilter",
    "GIT_CONFIG_VALUE_1": "true",
    "GIT_CONFIG_KEY_2": "uploadpack.allowAnySHA1InWant",
    "GIT_CONFIG_VALUE_2": "true",
}


def make_app(repositories: Path, faults: Faults, token: str = "") -> web.Application:
    """Serve the bare repositories of a directory, read-only, as ``/git/<name>.git``.

    :param faults: the faults to inject; their patterns match ``/git/…`` paths.
    :param token: the password, with any user name, that repositories below ``private/`` want; empty if
        nobody may read those.
    """

    @web.middleware
    async def disturb(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await faults.handle(request, handler)

    app = web.Application(middlewares=[disturb, _authorize], client_max_size=LARGEST_REQUEST)
    app[REPOSITORIES] = repositories
    app[TOKEN] = token
    app.add_routes(
        [
            web.route("POST", "/git/{name:.+}/info/lfs/objects/batch", _lfs_batch),
            web.route("GET", "/git/{name:.+}/info/lfs/objects/{object:[0-9a-f]{64}}", _lfs_object),
            web.route("GET", "/git/{path:.+}", _serve),
            web.route("POST", "/git/{path:.+}", _serve),
        ]
    )
    return app


def lfs_file(repository: Path, identifier: str) -> Path:
    """Return where a bare repository keeps an object of Git LFS.

    :param identifier: the SHA-256 of its content.
    """
    return repository / "lfs/objects" / identifier[:2] / identifier[2:4] / identifier


def password_of(request: web.Request) -> str:
    """Return the password of a request's basic authentication; empty if it has none."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def is_known(password: str, expected: str) -> bool:
    """Compare a password with the only one that is accepted; nobody has an empty one."""
    return bool(expected) and hmac.compare_digest(password.encode(), expected.encode())


@web.middleware
async def _authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    # The path as the file system will read it.
    path = posixpath.normpath(f"/{request.path.removeprefix('/git/')}").lstrip("/")
    if path.startswith(PRIVATE) and not is_known(password_of(request), request.app[TOKEN]):
        return web.Response(
            status=401,
            text="Repository not found, or the token may not read it",
            headers={"WWW-Authenticate": 'Basic realm="Sandbox"'},
        )
    return await handler(request)


async def _serve(request: web.Request) -> web.Response:
    body = await request.read()
    environment = {
        **GIT_ENVIRONMENT,
        "GIT_PROJECT_ROOT": str(request.app[REPOSITORIES]),
        "GIT_HTTP_EXPORT_ALL": "1",
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


async def _lfs_batch(request: web.Request) -> web.Response:
    """Answer where each object is: Git LFS's batch API, for downloads."""
    wanted = await request.json()
    answers = []
    for each in wanted["objects"]:
        identifier, size = str(each["oid"]), int(each["size"])
        answer: dict[str, object] = {"oid": identifier, "size": size}
        if re.fullmatch("[0-9a-f]{64}", identifier) and lfs_file(_repository(request), identifier).is_file():
            credentials = request.headers.get("Authorization")
            answer["actions"] = {
                "download": {
                    "href": f"{request.url.parent}/{identifier}",
                    "header": {"Authorization": credentials} if credentials else {},
                }
            }
        else:
            answer["error"] = {"code": 404, "message": "Object does not exist"}
        answers.append(answer)
    return web.json_response(
        {"transfer": "basic", "objects": answers}, content_type="application/vnd.git-lfs+json"
    )


async def _lfs_object(request: web.Request) -> web.StreamResponse:
    file = lfs_file(_repository(request), request.match_info["object"])
    return FileAnswer(file) if file.is_file() else web.Response(status=404)


def _repository(request: web.Request) -> Path:
    name = posixpath.normpath(f"/{request.match_info['name']}").lstrip("/")
    return request.app[REPOSITORIES] / name
