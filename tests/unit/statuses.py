"""What proxies say of themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bluegreen.color import Color
from bluegreen.traffic.agent_answers import Counters, ProxyStatus
from tests.unit.agent_status import answer
from tests.unit.fleets import V1
from tests.unit.runs import REVISION, TOKEN


def status(live: str | None = "blue", *, up: bool = True, **changes: Any) -> ProxyStatus:
    known = {"port": 8080, "up": up, "check": "L7OK"}
    servers = {
        "blue": [{"name": "blue-1", "address": "198.19.0.3", **known}],
        "green": [{"name": "green-1", "address": "198.19.0.4", **known}],
    }
    confirmed = {"color": live, "revision": V1, "run_id": "p", "at": 1.0} if live else None
    calm = {"pending": None, "last_revert": None, "confirmed": confirmed, "servers": servers}
    return ProxyStatus.parse(answer(live=live, **{**calm, **changes}))


def status_at_end(live: Color | None, **changes: Any) -> SimpleNamespace:
    known: dict[str, Any] = {"pending": None, "confirmed": None, "last_revert": None}
    known["good"] = {}
    known["ledger"] = None
    known["lock"] = SimpleNamespace(since=100.0, run_id="deploy/run", token=TOKEN, contracts=False)
    known["sessions"] = {Color.BLUE: 3, Color.GREEN: 0}
    known["counters"] = {color: Counters() for color in Color}
    kept = changes.get("confirmed")
    known["served"] = kept if kept and kept.color is live else None
    return SimpleNamespace(live=live, known_live=live, **{**known, **changes})


def token_at(at: float) -> int:
    """With which token something was done; the run has had its lock since 100."""
    return TOKEN if at >= 100.0 else TOKEN - 1


def reverted(run_id: str, at: float, refused: bool = False) -> SimpleNamespace:
    return SimpleNamespace(run_id=run_id, at=at, refused=refused, token=token_at(at))


def confirmed(at: float = 200.0, color: Color = Color.GREEN) -> SimpleNamespace:
    about = {"run_id": "deploy/run", "color": color, "revision": REVISION, "at": at, "token": token_at(at)}
    return SimpleNamespace(irreversible=None, judged=True, **about)
