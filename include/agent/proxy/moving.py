"""The verbs that change HAProxy's configuration, or move traffic."""

from __future__ import annotations

from agent.call import Call
from agent.fields import COLOR, REVISION, number, text
from agent.http_client import Question
from agent.protocol import COLORS, AgentError, Json
from agent.proxy.machine import Proxy
from agent.proxy.messages import (
    AlignAnswer,
    BootAnswer,
    ConfirmAnswer,
    RevertAnswer,
    SwitchAnswer,
    SyncAnswer,
)
from agent.proxy.started import irreversible_in, started_in
from agent.proxy.traffic_map import TrafficMap
from agent.system import digest


def sync(call: Call, request: Json) -> SyncAnswer:
    """Let HAProxy run a configuration, and file and running map say the same.

    Request: ``token``; ``config``, the text; ``initial`` (``live``, ``idle``), what a new proxy starts with;
    ``peers``, the addresses of all proxies; ``prepare_only``, to check everything and install nothing.
    Answer: ``changed``, ``reloaded``, ``prepared`` (with ``prepare_only``).
    Codes: ``lock_lost``, ``unsupported``, ``invalid_config``, ``bad_map``, ``reload_failed`` (the message
    says whether the old configuration is back).
    Killed anywhere, HAProxy runs the old or the new configuration, and traffic stays where it is; the next
    sync finds out which one runs, and finishes.
    """
    proxy = Proxy.to_change(call, request)
    proxy.lock_store.require(request)
    proxy.haproxy.require_support()
    config = text(request, "config", r"[^\x00]+").encode()
    wanted = proxy.traffic.wanted(request.get("initial") or {})
    # HAProxy checks that the map is there, so it has to be made before the configuration is checked.
    created = not proxy.paths.map.exists()
    if created:
        proxy.traffic.write_file(wanted)
    try:
        proxy.configuration.validate(config)
    except AgentError:
        if created:
            proxy.paths.map.unlink()
        raise
    # While this is prepared: all know of all before any of them sends traffic anywhere.
    proxy.state.know_reached(request.get("peers") or [])
    if request.get("prepare_only"):
        return {"changed": False, "reloaded": False, "prepared": True}
    repaired = proxy.traffic.in_file() != wanted
    if repaired:
        # What runs is the truth; a reload would read the file and move traffic otherwise.
        proxy.traffic.write_file(wanted)
    old = proxy.configuration.install(config)
    reload = proxy.configuration.running_digest() != digest(config)
    if reload:
        proxy.configuration.load_or_go_back(config, old, wanted)
    elif proxy.haproxy.running_map() != wanted:
        proxy.haproxy.set_map(wanted)
    changed = created or repaired or reload or old != config
    return {"changed": changed, "reloaded": reload}


def switch(call: Call, request: Json) -> SwitchAnswer:
    """Move traffic to a color, checked, atomic, and temporary until it is confirmed.

    Request: ``token``, ``to``, ``revision``; ``started`` (``messages.StartedRelease``), what its servers were
    started with; ``confirm_within`` in seconds; ``min_servers``; ``health_path`` and
    ``messages.QuestionFields``; ``peers``, the addresses of all proxies; ``irreversible``, why there is no
    way back from the release, or null: a switch to such a release is kept at once; ``prepare_only``, to
    check everything and move nothing.
    Answer: ``from``, ``to``, ``already`` (traffic was there), ``counters`` and ``answer_times`` of before,
    ``milliseconds`` until the first new answer and ``at``; or ``prepared``.
    Codes: ``lock_lost``, ``haproxy_down``, ``unhealthy``, ``cannot_arm``, ``not_installed``, ``not_moved``,
    ``too_slow``; after each traffic is where it was, or the message says that the timer takes it back.
    Killed anywhere, it has moved nothing, or the timer takes traffic back; a retried switch still knows where
    traffic came from. One that is irreversible and was killed is kept by the next call if traffic has moved.
    """
    proxy = Proxy.to_change(call, request)
    holder = proxy.lock_store.require(request)
    to, revision = text(request, "to", COLOR), text(request, "revision", REVISION)
    started_in(request)
    irreversible_in(request)
    within = number(request, "confirm_within", 1, 86400)
    minimum = int(number(request, "min_servers", 1, 1000))
    question = Question.of(request, "health_path")
    proxy.pending.settle_irreversible()
    running, pending = proxy.traffic.running(), proxy.state.pending
    origin = pending["from"] if pending and pending["to"] == to else running.live_color
    if origin == to:
        if proxy.traffic.in_file() != running:
            proxy.traffic.write_file(running)
        return _kept_before(proxy, to, holder) or {"from": to, "to": to, "already": True}
    proxy.traffic.require_health(to, revision, minimum, question)
    answer: SwitchAnswer = {
        "from": origin,
        "to": to,
        "already": running.live == to,
        "counters": proxy.counters(),
        "answer_times": proxy.answer_times(),
    }
    if request.get("prepare_only"):
        return {**answer, "prepared": True}
    return {**answer, **proxy.pending.begin(to, origin, request, holder, within)}


def _kept_before(proxy: Proxy, to: str, holder: Json) -> SwitchAnswer | None:
    """Return what the answer of this run's irreversible switch was, as far as that is known; else ``None``.

    That answer may have been lost, and the run asks again.
    """
    kept = proxy.state.read()["confirmed"]
    if not kept or "irreversible" not in kept or (kept["color"], kept["token"]) != (to, holder["token"]):
        return None
    return {
        "to": to,
        "already": True,
        "from": next(color for color in COLORS if color != to),
        "counters": proxy.counters(),
        "answer_times": proxy.answer_times(),
        "milliseconds": 0.0,
        "at": kept["at"],
    }


def confirm(call: Call, request: Json) -> ConfirmAnswer:
    """Keep the switch; or agree to do so, and let the other proxies decide.

    Of a switch that was kept at once, it notes that its release was found good.

    Request: ``token``, ``revision``, ``prepare_only``. Answer: ``live``, ``prepared`` (with
    ``prepare_only``). Codes: ``lock_lost``, ``haproxy_down``, ``reverted``.
    Killed anywhere, the switch is kept, or its timer decides; the same request again keeps it.
    """
    proxy = Proxy.to_change(call, request)
    holder = proxy.lock_store.require(request)
    revision = text(request, "revision", REVISION)
    return proxy.pending.confirm(revision, holder, prepare_only=bool(request.get("prepare_only")))


def align(call: Call, request: Json) -> AlignAnswer:
    """Send traffic where the other proxies, or a person, know that it belongs.

    Request: ``token``, ``to``, ``path`` and ``messages.QuestionFields``. Answer: ``from``, ``to``, ``moved``.
    Codes: ``lock_lost``, ``haproxy_down``, ``unhealthy``, ``not_moved``, ``too_slow``.
    Killed anywhere, traffic goes to one color or the other; the same request again moves it.
    """
    proxy = Proxy.to_change(call, request)
    proxy.lock_store.require(request)
    to, question = text(request, "to", COLOR), Question.of(request)
    running, wanted = proxy.traffic.running(), TrafficMap.to(to)
    if running != wanted or proxy.traffic.in_file() != wanted:
        proxy.traffic.require_one_server(to, running.live)
        proxy.traffic.move_or_put_back(wanted, running, question)
    proxy.pending.forget()
    return {"from": running.live_color, "to": to, "moved": running != wanted}


def revert(call: Call, request: Json) -> RevertAnswer:
    """Take the pending switch back; harmless if there is none.

    Request: ``token`` of the run whose switch it is; ``deadline``, as the timer calls it: only if that is the
    pending switch's; neither, if a person asks. ``prepare_only``, to ask whether it can be done.
    Answer: ``from``, ``to`` (where traffic is now), ``reverted``, ``milliseconds``, ``prepared``.
    Codes: ``lock_lost``, ``unhealthy`` (the color before cannot answer: traffic stays), ``not_moved``,
    ``not_written`` (traffic moved; its file did not).
    A run takes back its own switch only; a dead run's is its timer's. A run that died while it confirmed may
    have done so on another proxy: the timer looks there. A first release stays unless its run takes it away;
    then nothing is live, as before.
    Killed anywhere, the switch stays pending until traffic is back, and the timer tries again.
    """
    proxy = Proxy.to_change(call, request)
    holder = proxy.lock_store.require(request) if "token" in request else None
    prepare_only = bool(request.get("prepare_only"))
    return proxy.pending.revert(holder, request.get("deadline"), prepare_only=prepare_only)


def boot(call: Call, request: Json) -> BootAnswer:
    """Take an unconfirmed switch back before HAProxy starts: its timer did not outlive the restart.

    Request: nothing. Answer: ``reverted``, and then ``from`` and ``to``.
    Codes: ``unhealthy`` (no server of the color before answers), ``cannot_arm``.
    Killed anywhere, HAProxy starts with the old or the new color, and a timer tries again.
    """
    return Proxy.to_change(call, request).pending.at_boot()
