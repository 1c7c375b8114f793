"""The CPAN mirror over http: open to everybody, and once more for those who have its token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from sandbox.api.faults import Faults, FileAnswer, Handler
from sandbox.cpan import mirror
from sandbox.git_http import is_known, password_of

PRIVATE = "/private-cpan/"


class Mirrors:
    """The mirror's files, which are made when they are asked for first.

    :param directory: for the files.
    :param stock: returns the directory of more distributions, if they have been fetched by now.
    """

    def __init__(self, directory: Path, stock: Callable[[], Path | None]) -> None:
        self._directory = directory
        self._stock = stock
        self._making = asyncio.Lock()

    async def current(self) -> Path:
        """Return the directory of the mirror as it should be now."""
        stock = self._stock()
        made = self._directory / ("plain" if stock is None else "stocked")
        async with self._making:
            if not made.is_dir():
                self._directory.mkdir(exist_ok=True)
                await asyncio.to_thread(mirror.build, made, stock)
        return made


def make_app(mirrors: Mirrors, faults: Faults, token: str) -> web.Application:
    """Serve a mirror as ``/cpan/`` and as ``/private-cpan/``.

    :param faults: the faults to inject; their patterns match these paths.
    :param token: the password, with any user name, that ``/private-cpan/`` wants.
    """

    @web.middleware
    async def disturb(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await faults.handle(request, handler)

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.path.startswith(PRIVATE) and not is_known(password_of(request), token):
            headers = {"WWW-Authenticate": 'Basic realm="CPAN"'}
            return web.Response(status=401, text="This mirror wants a token", headers=headers)
        root = await mirrors.current()
        file = (root / request.match_info["path"]).resolve()
        if not file.is_relative_to(root.resolve()) or not file.is_file():
            return web.Response(status=404, text="Not on this mirror")
        return FileAnswer(file)

    app = web.Application(middlewares=[disturb])
    app.add_routes([web.get("/cpan/{path:.+}", serve), web.get(PRIVATE + "{path:.+}", serve)])
    return app
