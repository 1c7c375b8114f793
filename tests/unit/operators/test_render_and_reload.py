"""Whether HAProxy may be given a configuration."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from airflow.sdk.exceptions import AirflowFailException

from bluegreen.color import Color
from bluegreen.errors import BlueGreenError
from bluegreen.hooks.proxies import ProxiesHook
from bluegreen.operators import render_and_reload as haproxy
from bluegreen.run.plan import HeldLock, Plan
from tests.unit.fleets import FLEET
from tests.unit.runs import Run
from tests.unit.statuses import status

pytestmark = pytest.mark.usefixtures("trusting")

PLAN = Plan(live=Color.BLUE, idle=Color.GREEN, fleet=FLEET).model_dump(mode="json")
LOCK = HeldLock(proxies=FLEET.proxies, tokens={"lb-1": 7}).model_dump(mode="json")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stand in for two proxies."""
    hook = Mock(members=[Mock(), Mock()])
    for number, member in enumerate(hook.members, 1):
        member.name = f"lb-{number}"
        member.probe_all.return_value = [SimpleNamespace(status=200)]
    hook.statuses.return_value = {"lb-1": status(), "lb-2": status()}
    hook.sync.return_value = hook.align.return_value = []
    monkeypatch.setattr(ProxiesHook, "holding", lambda *_: hook)
    monkeypatch.setattr(haproxy, "haproxy_config", lambda *_, **__: "config")
    return hook


def render(**plan: Any) -> Any:
    task: Any = haproxy.RenderAndReloadOperator(
        app_id="my_perl_app", task_id="render_and_reload", lock=LOCK, plan={**PLAN, **plan}
    )
    return task.execute(Run().context)


def test_proxies_that_run_it_already_are_not_asked_again(hook: Any) -> None:
    assert render(rendered=True) == []
    assert not hook.method_calls


@pytest.mark.parametrize(
    ("answer", "up", "refused"),
    [(404, True, True), (200, True, False), (500, True, False), (None, True, False), (404, False, False)],
    ids=["not known", "known", "sick", "silent", "down already"],
)
def test_a_health_path_that_the_live_release_does_not_know_is_refused(
    answer: int | None, up: bool, refused: bool, hook: Any
) -> None:
    server = {"name": "blue-1", "address": "10.0.0.1", "port": 8080, "up": up, "check": "L7OK"}
    hook.statuses.return_value["lb-2"] = status(servers={"blue": [server], "green": []})
    hook.members[1].probe_all.return_value[0].status = answer
    if refused:
        with pytest.raises(
            AirflowFailException, match=r"blue-1 is live and answers /health .* with status 404"
        ):
            render()
    else:
        render()
    assert hook.sync.called is not refused


def test_traffic_that_was_moved_meanwhile_is_not_moved_again(hook: Any) -> None:
    """A dead run's timer may have found that it can take its switch back after all."""
    hook.statuses.return_value = {"lb-1": status("green"), "lb-2": status("green")}
    with pytest.raises(AirflowFailException, match="blue is not live any more"):
        render()
    assert not hook.sync.called
    hook.statuses.return_value = {"lb-1": status("green"), "lb-2": status()}
    render()
    assert hook.align.called


def test_certificates_are_delivered_before_haproxy_is_to_name_them(
    hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new proxy has none of the files yet, and would refuse the configuration."""
    there = {"www.example.com": object()}
    monkeypatch.setattr(haproxy, "served_certificates", lambda *_: SimpleNamespace(to_send=there))
    hook.deliver_certificates.return_value = {"lb-1": BlueGreenError("lb-1: no space left on device")}
    with pytest.raises(AirflowFailException, match="no space left"):
        render()
    assert not hook.sync.called
    hook.reset_mock()
    hook.deliver_certificates.return_value = {}
    render()
    asked = [call[0] for call in hook.method_calls]
    assert asked.index("deliver_certificates") < asked.index("sync")
    hook.deliver_certificates.assert_called_once_with(there, handshakes=False)


@pytest.mark.parametrize("everywhere", [True, False])
def test_ipv6_is_served_if_every_proxy_knows_it(
    everywhere: bool, hook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HAProxy would not start with an address of a kind that its kernel does not know."""
    rendered: dict[str, Any] = {}
    monkeypatch.setattr(haproxy, "haproxy_config", lambda *_, **how: rendered.update(how))
    known = status().haproxy
    for name, knows in (("lb-1", True), ("lb-2", everywhere)):
        hook.statuses.return_value[name] = status(haproxy={**known.model_dump(), "ipv6": knows})
    render()
    assert rendered["ipv6"] is everywhere
