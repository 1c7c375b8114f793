"""The verbs about which run may change this proxy, and how runs have ended."""

from __future__ import annotations

import contextlib

from agent.call import Call
from agent.fields import COLOR, LINE, number, text
from agent.protocol import AgentError, Code, Json
from agent.proxy.abandoned_run import record_of_an_abandoned_run
from agent.proxy.lock import LEASE
from agent.proxy.machine import Proxy
from agent.proxy.messages import LockAnswer, RecordAnswer, RenewAnswer


def lock(call: Call, request: Json) -> LockAnswer:
    """Give a run the lock, and decide what becomes of another run's switch.

    Request: ``owner``, ``run_id``, ``ref``; ``lease`` in seconds (120); ``begun``, the beginning of the run's
    record, for the run that may have to complete it; ``over``, the token of a holder whose run is known to
    have ended; ``at_least``, the smallest token that is greater than all that are known elsewhere; ``keep``,
    whether a prepared switch is known to have been decided.
    Answer: ``token``, ``until``, ``took_over`` (who had it, for people, or None).
    Codes: ``locked``, ``bad_request``, ``not_installed`` (nothing stays locked then).
    Killed anywhere, it has given the lock or not; the same request again gives the same lock, settles a
    pending switch and completes the records of runs that had left theirs behind.
    """
    proxy = Proxy.to_change(call, request)
    who: Json = {key: text(request, key, LINE) for key in ("owner", "run_id", "ref")}
    if request.get("begun"):
        who["begun"] = _record_in(request, "begun")
    lease = number({"lease": LEASE, **request}, "lease", 1, 86400)
    over = number(request, "over", 0, 1e15) if "over" in request else 0
    holder = proxy.lock_store.holder()
    at_least = int(number({"at_least": 0, **request}, "at_least", 0, 1e15))
    taken = proxy.lock_store.take(who, lease, over, at_least)
    answer: LockAnswer = {"token": taken["token"], "until": taken["until"], "took_over": None}
    if holder and holder["run_id"] != taken["run_id"]:
        answer["took_over"] = proxy.lock_store.describe(holder)
    proxy.pending.settle(keep=bool(request.get("keep")))
    if taken.get("left"):
        for begun in taken["left"]:
            proxy.ledger.append(record_of_an_abandoned_run(proxy, begun, who["run_id"]))
        proxy.lock_store.all_recorded()
    # Last: a lock that is given back forgets the runs whose records are not complete.
    _enable_boot_unit(proxy, taken["token"])
    return answer


def _enable_boot_unit(proxy: Proxy, token: int) -> None:
    """Let this version run at the next boot, now that no other run relies on another one."""
    try:
        proxy.boot_unit.enable()
    except AgentError:
        proxy.lock_store.release(token)
        raise


def renew(call: Call, request: Json) -> RenewAnswer:
    """Keep the lock for another lease.

    Request: ``token``; ``lease`` in seconds (as long as before); ``touches``, the color whose droplets are
    about to be changed; ``known_token``, which a droplet knows and no proxy did; ``contracts``, whether the
    run is about to run a contract, which its record then says, however the run ends.
    Answer: ``until``. Codes: ``lock_lost``; ``not_idle`` if the color has traffic, or this run may yet send
    traffic back there; ``failed`` if the contract cannot be written down.
    Killed anywhere, the lease is the old or the new one.
    """
    proxy = Proxy.to_change(call, request)
    lease = number(request, "lease", 1, 86400) if "lease" in request else None
    holder = proxy.lock_store.require(request, lease)
    if "touches" in request:
        _require_idle(proxy, text(request, "touches", COLOR), holder)
    if request.get("contracts"):
        proxy.lock_store.note_contract(holder)
    if "known_token" in request:
        proxy.lock_store.know(int(number(request, "known_token", 0, 1e15)))
    return {"until": proxy.lock_store.until(holder)}


def _require_idle(proxy: Proxy, color: str, holder: Json) -> None:
    """Refuse if a color has the traffic, or this run has moved it away from there and may yet go back.

    Another run's switch that could not be taken back so far never will be: its way back ends here.
    """
    known, pending = proxy.haproxy.running_map() or proxy.traffic.in_file(), proxy.state.pending
    if known and known.live == color:
        raise AgentError(Code.NOT_IDLE, f"{color} has the traffic; nothing was changed, trigger a new run")
    if known and known.idle_share:
        given = f"{color} is given {known.idle_share} % of the requests (idle_share in {proxy.paths.map})"
        raise AgentError(Code.NOT_IDLE, f"{given}; nothing was changed, end that first")
    if pending and pending.get("token") == holder["token"]:
        moved = f"this run has moved traffic to {pending['to']}, and that is not decided"
        raise AgentError(Code.NOT_IDLE, f"{moved}; {color} was not changed, trigger a new run")
    if pending:
        proxy.pending.forget()


def unlock(call: Call, request: Json) -> Json:
    """Give the lock back; harmless if another run has it by now.

    Request: ``token``. Answer: nothing. Codes: ``bad_request``.
    A switch that its run left unconfirmed is taken back first; if that cannot be done, the timer tries again.
    Killed anywhere, the lock is held or free; the same request again gives it back.
    """
    proxy = Proxy.to_change(call, request)
    token = int(number(request, "token", 0, 1e15))
    holder, pending = proxy.lock_store.holder(), proxy.state.pending
    if holder and holder["token"] == token and pending and not pending.get("prepared"):
        # A task that was killed late has switched after its run had looked for the last time.
        # If it cannot be taken back, the timer tries again.
        with contextlib.suppress(AgentError, OSError):
            proxy.pending.revert(proxy.lock_store.require({"token": token}), prepare_only=False)
    proxy.lock_store.release(token)
    return {}


def record(call: Call, request: Json) -> RecordAnswer:
    """Write down how a run has ended. It needs no lock: a run that did not get it has ended too.

    Request: ``record`` with ``dag_id``, ``run_id``, ``attempt`` and whatever is to be kept. Answer:
    ``written``, False if that run has its record already; ``head``, the digest of the ledger's last line.
    Codes: ``bad_request``. Killed anywhere, it leaves a whole line, or half of one, which the next record
    removes.
    """
    proxy = Proxy.to_change(call, request)
    written = proxy.ledger.append(_record_in(request, "record"))
    return {"written": written, "head": proxy.ledger.head()}


def _record_in(request: Json, key: str) -> Json:
    record = request.get(key)
    if not isinstance(record, dict):
        raise AgentError(Code.BAD_REQUEST, f"{key}: {record!r:.60} is not a record")
    text(record, "dag_id", LINE)
    text(record, "run_id", LINE)
    number(record, "attempt", 0, 1e6)
    return record
