"""Holding requests and answers against DigitalOcean's own description of its API."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest, MockResponse

DESCRIPTION = Path(__file__).with_name("do_openapi_subset.json")


class Contract(SansIOHTTPPolicy[Any, Any]):
    """Checks each request that pydo sends and each answer that it gets; both must fit the description.

    :ivar statuses: the status of each answer, in order.
    :ivar checked: how often each operation was checked, by method and path pattern.
    """

    def __init__(self) -> None:
        super().__init__()
        self._openapi = _openapi()
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.checked: Counter[str] = Counter()

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        """Check one exchange; raises what openapi-core has to say against it."""
        sent, got = request.http_request, response.http_response
        body = sent.body if sent.body is not None else b""
        data = body.encode() if isinstance(body, str) else body
        self.check(sent.method, sent.url, sent.headers, data, got.status_code, got.headers, got.body())

    def check(
        self,
        method: str,
        url: str,
        headers: Any,
        body: bytes,
        status: int,
        answer_headers: Any,
        answer: bytes,
    ) -> None:
        """Check one exchange, given in parts."""
        self.statuses.append(status)
        self.headers.append({name.lower(): value for name, value in answer_headers.items()})
        address = urlsplit(url)
        request = MockRequest(
            "https://api.digitalocean.com",
            method.lower(),
            unquote(address.path),
            args=dict(parse_qsl(address.query)),
            headers=dict(headers),
            data=body,
            content_type="application/json",
        )
        kind = self.headers[-1].get("content-type", "application/json").partition(";")[0]
        response = MockResponse(answer, status, dict(answer_headers), kind)
        self._openapi.validate_request(request)
        self._openapi.validate_response(request, response)
        self.checked[f"{method} {address.path}"] += 1


@cache
def _openapi() -> OpenAPI:
    """Read the description once: that takes half a second."""
    return OpenAPI.from_dict(_description())


def _description() -> dict[str, Any]:
    description: dict[str, Any] = json.loads(DESCRIPTION.read_text())
    # As they stand, these are read-only and at the same time what a path must be given.
    for schema in ("ssh_key_id", "ssh_key_fingerprint"):
        del description["components"]["schemas"][schema]["readOnly"]
    return description
