"""Our own requests through a real HAProxy: which color is asked, and what its app sees of how clients ask."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.fleet.droplets import Droplet, Fleet
from bluegreen.operators import preview_check as preview
from bluegreen.operators.preview_check import PreviewCheckOperator
from bluegreen.run.plan import Plan
from bluegreen.settings.app import App
from bluegreen.settings.app_file import load_app
from bluegreen.validation.bounded_http import BoundedHttp
from bluegreen.validation.sampler import ProbeClient, ProbeOptions
from tests.unit.local_haproxy import PREVIEW_KEY, REVISIONS, Deployed
from tests.unit.runs import running


def app(public_url: str | None) -> App:
    app = load_app("my_perl_app")
    return app.model_copy(update={"traffic": app.traffic.model_copy(update={"public_url": public_url})})


def proxy(deployed: Deployed) -> Any:
    droplet = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("127.0.0.1"), private=None)
    return droplet.model_copy(update={"public": f"127.0.0.1:{deployed.world.http_port}"})


@pytest.mark.parametrize(
    ("public_url", "host", "scheme"),
    [
        ("https://www.example.com", "www.example.com", "https"),
        ("http://www.example.com:8080", "www.example.com:8080", "http"),
        (None, None, "http"),
    ],
)
@pytest.mark.parametrize("color", Color)
def test_the_app_of_either_color_sees_what_it_sees_from_clients(
    deployed: Deployed, public_url: str | None, host: str | None, scheme: str, color: Color
) -> None:
    settings = app(public_url)
    deployed.sync(deployed.world.render(public_host=host, https=settings.traffic.https))
    live = color is Color.BLUE
    options = (ProbeOptions.of_clients if live else ProbeOptions.of_preview)(settings, PREVIEW_KEY)
    with ProbeClient(options) as client:
        sample = client.ask(("/headers", proxy(deployed)))
    assert (sample.status, sample.revision) == (200, REVISIONS[color])
    [seen] = [one.headers for one in deployed.world.backends[color] if one.headers.keys()]
    address = f"127.0.0.1:{deployed.world.http_port}"
    assert seen["Host"] == (host or (address if live else settings.traffic.preview_host))
    assert seen.get_all("X-Forwarded-Proto") == [scheme]
    assert "X-Preview-Key" not in seen


@pytest.fixture
def check(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> Any:
    get = BoundedHttp.get
    here = f"127.0.0.1:{deployed.world.http_port}"
    monkeypatch.setattr(BoundedHttp, "get", lambda self, _, *rest: get(self, here, *rest))
    monkeypatch.setattr(preview, "preview_key", lambda _: PREVIEW_KEY)
    monkeypatch.setattr(preview, "PREVIEW_SECONDS", 1.5)

    def check(public_url: str | None, **new: Any) -> dict[str, Any]:
        """Look at a new release, green, whose pages differ from blue's in this."""
        settings = app(public_url)
        for name, value in new.items():
            for backend in deployed.world.backends[Color.GREEN]:
                setattr(backend, name, value)
        traffic = settings.traffic
        deployed.sync(deployed.world.render(public_host=traffic.public_host, https=traffic.https))
        proxy = Droplet(id=1, name="lb-1", status="active", public=IPv4Address("127.0.0.1"), private=None)
        plan = Plan(
            live=Color.BLUE,
            idle=Color.GREEN,
            fleet=Fleet(proxies=(proxy,), blue=(), green=(proxy,) * 2),
        )
        operator = PreviewCheckOperator(
            app_id="my_perl_app",
            task_id="preview_check",
            lock={"proxies": [], "tokens": {"lb-1": 7}},
            plan=plan.model_dump(mode="json"),
            revision=REVISIONS[Color.GREEN],
        )
        operator.__dict__["app"] = settings
        return operator.act(running("preview_check"))

    return check


WHOM: dict[str, dict[str, Any]] = {
    "by https": {"only_https": True},
    "by its host": {"only_host": "www.example.com"},
    "by https and its host": {"only_https": True, "only_host": "www.example.com"},
}


@pytest.mark.parametrize("whom", WHOM)
def test_an_app_that_answers_its_clients_only_proves_something_if_asked_like_them(
    deployed: Deployed, check: Any, whom: str
) -> None:
    for backend in (backend for members in deployed.world.backends.values() for backend in members):
        for name, value in WHOM[whom].items():
            setattr(backend, name, value)
    with pytest.raises(
        BlueGreenError, match=r"could not distinguish .* set traffic.public_url to how clients ask"
    ):
        check(None)
    seen = check("https://www.example.com")
    assert seen["unproven"] == []
    assert {sample["status"] for sample in seen["samples"]} == {200}
    with pytest.raises(BlueGreenError, match=r"the preview .* is not right: / through lb-1: status 500"):
        check("https://www.example.com", page_status=500)


def test_a_release_that_begins_to_redirect_is_not_right(check: Any) -> None:
    with pytest.raises(BlueGreenError, match=r"status 301, allowed are 200 to 299 .* set traffic.public_url"):
        check(None, only_https=True)


@pytest.mark.parametrize("number", [0, 1])
def test_pages_of_another_revision_from_one_of_two_droplets_are_not_right(
    deployed: Deployed, check: Any, number: int
) -> None:
    deployed.world.backends[Color.GREEN][number].page_revision = "d" * 40
    with pytest.raises(BlueGreenError, match=f"/ through lb-1: status 200 from revision {'d' * 40}"):
        check(None)
