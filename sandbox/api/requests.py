"""Reading requests: bodies, query parameters, pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from aiohttp import web

from sandbox.api.errors import bad_request, invalid, not_found
from sandbox.api.records import Json

DEFAULT_PER_PAGE, MAX_PER_PAGE = 20, 200
Value = TypeVar("Value")


async def body_of(request: web.Request) -> Json:
    """Return a request's JSON object."""
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        raise bad_request("Unable to parse request body as JSON") from None
    if not isinstance(body, dict):
        raise bad_request("The request body is not a JSON object")
    return body


def field_of(body: Json, name: str, kind: type[Value], default: Value | None = None) -> Value:
    """Return a field of a body; required if it has no default."""
    value: Any = body.get(name)
    if value is None:
        if default is None:
            raise invalid(f"{name.capitalize()} can't be blank")
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
        raise invalid(f"{name.capitalize()} is invalid")
    if default is None and isinstance(value, str) and not value.strip():
        raise invalid(f"{name.capitalize()} can't be blank")
    return value


def id_of(request: web.Request, name: str) -> int:
    """Return a number from the path; what is none exists nowhere."""
    text = request.match_info[name]
    if not text.isdecimal():
        raise not_found()
    return int(text)


def page_of(request: web.Request, name: str, items: Sequence[Json]) -> Json:
    """Return the page of a list that a request asks for, under the list's name, with links and total."""
    per_page = _number(request, "per_page", DEFAULT_PER_PAGE)
    page = _number(request, "page", 1)
    if per_page > MAX_PER_PAGE:
        raise invalid(f"per_page must be between 1 and {MAX_PER_PAGE}")
    last = max(1, -(-len(items) // per_page))
    start = (page - 1) * per_page
    return {
        name: list(items[start : start + per_page]),
        "links": _links(request, page, last),
        "meta": {"total": len(items)},
    }


def _links(request: web.Request, page: int, last: int) -> Json:
    pages: dict[str, int] = {}
    if page > 1:
        pages |= {"first": 1, "prev": page - 1}
    if page < last:
        pages |= {"next": page + 1, "last": last}
    return (
        {"pages": {name: str(request.url.update_query(page=str(number))) for name, number in pages.items()}}
        if pages
        else {}
    )


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or not int(text):
        raise invalid(f"{name} must be a positive integer")
    return int(text)
