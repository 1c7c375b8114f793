"""What the API answers to the unknown and the forbidden, and when it is made to misbehave."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from pydo import Client

from sandbox.api.limits import Limits
from tests.contract.conftest import Api
from tests.contract.description import Contract
from tests.contract.test_droplets import ORDER


@pytest.mark.parametrize("token", ["", "wrong", "dop_v1_for_test"])
def test_without_the_token_nothing_is_told(api: Api, contract: Contract, token: str) -> None:
    for path in ("/v2/droplets", "/v2/unknown", "/v2/account"):
        answer = api.send("GET", path, token=token)
        assert answer.status_code == 401
        assert answer.json() == {"id": "unauthorized", "message": "Unable to authenticate you."}


def test_a_wrong_token_as_pydo_sees_it(api: Api, contract: Contract) -> None:
    with pytest.raises(ClientAuthenticationError):
        api.client(token="wrong", per_retry_policies=[contract]).droplets.list()
    assert contract.statuses == [401]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v2/droplets", "DELETE, GET, POST"),
        ("HEAD", "/v2/account", "GET"),
        ("POST", "/v2/regions", "GET"),
        ("PATCH", "/v2/droplets/1", "DELETE, GET"),
    ],
)
def test_other_methods(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.send(method, path)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "path",
    ["/v2/droplets/1", "/v2/droplets/x", "/v2/actions/1", "/v2/vpcs/x", "/v2/reserved_ips/x", "/v3", "/v2/"],
)
def test_what_there_is_not(api: Api, path: str) -> None:
    answer = api.send("GET", path)
    assert (answer.status_code, answer.json()["id"]) == (404, "not_found")


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
def test_a_body_that_is_none(api: Api, body: bytes) -> None:
    assert api.send("POST", "/v2/droplets", data=body).status_code == 400


def test_the_key_list_is_limited_to_10_a_minute(api: Api, client: Client, contract: Contract) -> None:
    for _ in range(10):
        client.ssh_keys.list()
    with pytest.raises(HttpResponseError, match="rate limit"):
        client.ssh_keys.list(retry_total=0)
    assert contract.statuses[-1] == 429
    assert 1 <= int(contract.headers[-1]["retry-after"]) <= 61
    assert client.account.get()["account"]


def test_bursts_are_told_when_to_come_back_and_hours_are_not() -> None:
    now = [1000.0]
    limits = Limits(hourly=5, burst=3, clock=lambda: now[0])
    for _ in range(3):
        limits.count("GET", "/v2/droplets")
    with pytest.raises(Exception, match="rate limit") as burst:
        limits.count("GET", "/v2/droplets")
    assert burst.value.headers == {"retry-after": "61"}  # type: ignore[attr-defined]
    now[0] += 61
    for _ in range(2):
        limits.count("GET", "/v2/droplets")
    now[0] += 61
    with pytest.raises(Exception, match="rate limit") as hourly:
        limits.count("GET", "/v2/droplets")
    assert hourly.value.headers == {}  # type: ignore[attr-defined]
    assert limits.headers()["ratelimit-remaining"] == "0"


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_a_status_on_purpose(api: Api, contract: Contract, status: int) -> None:
    api.disturb(status=status, path="/v2/droplets*", count=1)
    client = api.client(per_retry_policies=[contract])
    with pytest.raises(HttpResponseError):
        client.droplets.list()
    assert contract.statuses == [status]
    assert "retry-after" not in contract.headers[0]
    assert client.droplets.list()["droplets"] == []


def test_a_retry_after_on_purpose(api: Api) -> None:
    api.disturb(status=429, retry_after=3600)
    assert api.send("GET", "/v2/droplets").headers["Retry-After"] == "3600"


def test_a_page_of_html(api: Api) -> None:
    api.disturb(kind="html", status=502)
    answer = api.send("GET", "/v2/droplets")
    assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html; charset=utf-8")
    api.disturb(kind="html", status=200)
    with pytest.raises(HttpResponseError):
        api.client().droplets.list()


def test_a_method_and_a_path_only(api: Api) -> None:
    api.disturb(status=500, method="POST", path="/v2/droplets")
    assert api.send("GET", "/v2/droplets").status_code == 200
    assert api.send("POST", "/v2/droplets", json=ORDER).status_code == 500
    assert api.account.droplets == {}


def test_slow(api: Api) -> None:
    api.disturb(kind="slow", seconds=0.5)
    started = time.monotonic()
    assert api.send("GET", "/v2/droplets").status_code == 200
    assert time.monotonic() - started >= 0.5


def test_hang(api: Api) -> None:
    api.disturb(kind="hang")
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.get(f"{api.url}/v2/droplets", verify=api.ca_file, timeout=0.5)


def test_reset(api: Api) -> None:
    api.disturb(kind="reset")
    with pytest.raises(requests.exceptions.ConnectionError):
        api.send("GET", "/v2/droplets")


def test_an_answer_that_is_lost_after_the_deed(api: Api) -> None:
    api.disturb(status=500, method="POST", after=True, count=1)
    assert api.send("POST", "/v2/droplets", json=ORDER).status_code == 500
    assert [droplet.name for droplet in api.account.droplets.values()] == ["web-1"]


def test_the_description_itself_says_guilty(contract: Contract) -> None:
    """A check that lets everything pass would make all others worthless."""
    answer: dict[str, Any] = {"droplets": [{"id": "not a number"}], "links": {}, "meta": {"total": 1}}
    with pytest.raises(Exception, match="not valid"):
        contract.check(
            "GET",
            "https://127.0.0.1/v2/droplets",
            {},
            b"",
            200,
            {"Content-Type": "application/json"},
            json.dumps(answer).encode(),
        )
