"""The page as an ASGI app of Airflow's API server, which does not authenticate the apps of plugins by itself.

Every request is authenticated by Airflow's auth manager, and shows what is in DAGs that the user may read. It
is only read: to trigger something, the browser asks Airflow's REST API, with the user's own rights.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from bluegreen.page.records import AppRecords

log = logging.getLogger(__name__)

PREFIX = "/bluegreen"
ASSETS = Path(__file__).parent / "assets"
KINDS = {"page.css": "text/css", "page.js": "text/javascript"}
# Requests that read the database at a time, in one process of the API server; seconds until one is sent away.
MOST_READING, READING_SECONDS = 2, 10.0

# Nothing is loaded from elsewhere, nothing in the page is a program, and no other page may frame it.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Page:
    """The page; what it needs is imported with the first request, so that no other process pays for it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; an error is a page of one line."""
        await self._app(scope, receive, send)

    @cached_property
    def _app(self) -> ASGIApp:
        from starlette.applications import Starlette
        from starlette.routing import Route

        self._reading = asyncio.Semaphore(MOST_READING)
        routes = [
            Route("/", self._whole, methods=["GET"]),
            Route("/apps", self._part, methods=["GET"]),
            Route("/assets/{name}", _asset, methods=["GET"]),
        ]
        return Starlette(routes=routes)

    async def _whole(self, request: Request) -> Response:
        return await self._answer(request, "page.html.j2")

    async def _part(self, request: Request) -> Response:
        return await self._answer(request, "apps.html.j2")

    async def _answer(self, request: Request, template: str) -> Response:
        from starlette.responses import HTMLResponse, RedirectResponse

        base = base_of(request.scope)
        try:
            user = await user_of(request)
            if user is None:
                if template == "page.html.j2":
                    return RedirectResponse(login_of(request, base), 303, headers=HEADERS)
                return _line("You are not logged in to Airflow.", 401)
            async with asyncio.timeout(READING_SECONDS), self._reading:
                html = await asyncio.to_thread(_rendered, template, user, base, dict(request.query_params))
        except TimeoutError:
            return _line("Airflow is busy. Load this page again in a minute.", 503)
        except Exception:
            log.exception("the page of deployments cannot be shown")
            return _line("The page cannot be shown: see the log of Airflow's API server.", 500)
        return HTMLResponse(html, headers=HEADERS)


def base_of(scope: Scope) -> str:
    """Return where Airflow begins on its host, without a slash at the end."""
    return str(scope.get("root_path", "")).removesuffix(PREFIX).rstrip("/")


def login_of(request: Request, base: str) -> str:
    """Return the address of Airflow's login, which leads back to the page."""
    from urllib.parse import quote

    return f"{base}/auth/login?next={quote(f'{base}{PREFIX}/', safe='')}"


async def user_of(request: Request) -> Any:
    """Return the user of a request by what Airflow's own routes depend on; ``None`` if it has none.

    ``JWTRefreshMiddleware`` has looked at a cookie before, and leaves the user in the request's state
    (Airflow 3.3.2).
    """
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException

    try:
        return await get_user(request, None, await bearer_scheme(request))
    except HTTPException:
        return None


def records_for(user: Any) -> list[AppRecords]:
    """Return the records of what a user may read: DAGs, and of these runs, task instances and XComs."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.utils.session import create_session

    from bluegreen.page.reading import read

    manager = get_auth_manager()
    shown = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
    if not all(manager.is_authorized_dag(method="GET", access_entity=one, user=user) for one in shown):
        return []
    with create_session(scoped=False) as session:
        return read(session, manager.get_authorized_dag_ids(user=user, session=session))


def _rendered(template: str, user: Any, base: str, query: dict[str, str]) -> str:
    from bluegreen.page.rendering import render

    only = query.get("app")
    found = records_for(user)
    return render(template, [one for one in found if only in (None, one.app_id)], base=base, only=only)


async def _asset(request: Request) -> Response:
    from starlette.responses import FileResponse

    name = request.path_params["name"]
    if name not in KINDS:
        return _line("Not found.", 404)
    headers = HEADERS | {"Cache-Control": "public, max-age=300"}
    return FileResponse(ASSETS / name, media_type=KINDS[name], headers=headers)


def _line(text: str, status: int) -> Response:
    from starlette.responses import PlainTextResponse

    return PlainTextResponse(f"{text}\n", status, headers=HEADERS)
