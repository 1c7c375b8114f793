"""The record of a run that has left its lock behind."""

from __future__ import annotations

import contextlib
import time

from agent.protocol import AgentError, Json
from agent.proxy.machine import Proxy
from agent.proxy.messages import UNREPORTED
from agent.system import utc


def record_of_an_abandoned_run(proxy: Proxy, begun: Json, found_by: str) -> Json:
    """Return what the run knew when it began, and what became of its switch.

    :param begun: the beginning of its record.
    :param found_by: the run that has found its lock.
    """
    run_id, state, running = f"{begun['dag_id']}/{begun['run_id']}", proxy.state.read(), None
    with contextlib.suppress(AgentError):
        running = proxy.traffic.running().live_color
    kept: Json = {**(state["confirmed"] or {})}
    taken_back: Json = {**(state["last_revert"] or {})}
    fate, way = "its lock was left behind", {}
    if kept.get("run_id") == run_id:
        fate, way = "its switch is kept", {"to": kept["color"]}
        way |= {"irreversible": kept["irreversible"]} if "irreversible" in kept else {}
    elif taken_back.get("run_id") == run_id:
        fate = (
            "its switch was taken back"
            if not taken_back.get("refused")
            else "its switch could not be taken back"
        )
        way = {"from": taken_back["to"], "to": taken_back["from"]}
    live = {"live": running, "live_known": True}
    live["live_revision"] = kept.get("revision") if running and kept.get("color") == running else None
    found = f"{fate}, as run {found_by} found; live is {running or 'nothing'}"
    message = f"{begun.get('subject', run_id)}: {UNREPORTED}: {found}"
    ended = utc(time.time(), "%Y-%m-%dT%H:%M:%SZ")
    return {
        **begun,
        **way,
        **live,
        "outcome": UNREPORTED,
        "message": message,
        "ended": ended,
        "found_by": found_by,
    }
