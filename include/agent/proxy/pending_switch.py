"""The switch that waits to be confirmed: the heart of the project."""

from __future__ import annotations

import contextlib
import time
from ipaddress import IPv4Address

from agent.call import Call
from agent.http_client import Question, answered, http_get
from agent.protocol import AgentError, Code, Json, Verb
from agent.proxy.boot_unit import BootUnit
from agent.proxy.messages import BootAnswer, ConfirmAnswer, Moved, PendingRecord, RevertAnswer
from agent.proxy.peers import PEERS_WAIT, Peers
from agent.proxy.revert_timer import RevertTimer
from agent.proxy.started import irreversible_in, started_in
from agent.proxy.switch_state import SwitchState, time_left
from agent.proxy.traffic import SHORT_APP_WAIT, Traffic
from agent.proxy.traffic_map import TrafficMap
from agent.system import deadline_of

# Seconds at boot for a server's first answer: the network may need some, and HAProxy waits meanwhile.
BOOT_WAIT = 10.0
# Seconds that a run may take to take its own switch back, however little is left.
REVERT_AT_LEAST = 20.0


class PendingSwitch:
    """A switch from its first instruction until it is decided.

    What is pending stands in ``traffic.json`` (``pending``): ``from`` (None before the first release) and
    ``to``, ``revision``, ``started`` (what the servers of ``to`` run), ``run_id`` and ``token`` of its run,
    ``deadline`` by people's clock, ``end`` and ``boot`` by the clock that cannot be set, how to ask the app,
    ``peers`` (the other proxies), ``servers`` of the color before, ``prepared`` once its run has begun to
    confirm, and ``irreversible`` if there is no way back from its release. Its states::

        (none) --arm--> armed --move--> moved --prepare--> prepared --confirm--> kept

        armed      a move that fails and is put back -> (none)
                   revert, timer, unlock, lock, boot -> taken back (nothing had moved)
        moved      confirm, if there is no other proxy -> kept
                   revert, timer, unlock, lock, boot -> taken back, or refused
                   boot, if its time was over before -> kept, if a peer keeps it
        prepared   timer -> kept or taken back, as the peers have decided
                   boot -> taken back, unless a peer keeps it: then the timer decides
                   lock -> kept if its run is known to have decided so, else taken back
                   revert -> taken back, or refused

    * **armed**: the unit of the next boot and a revert timer name this version of the agent, then ``pending``
      is written. Nothing has moved. In this order: a timer without a pending switch is harmless, a switch
      without a timer is not.
    * **moved**: file, running map and a real answer say so. Until ``deadline`` its run may confirm it.
    * **prepared**: all proxies of the app have this switch, and its run has begun to confirm it everywhere.
      From here on a proxy that hears no more does what its peers do.
    * **kept**: nothing is pending, ``confirmed`` is this switch; the timer is disarmed.
    * **taken back**: traffic is where it was, ``last_revert`` says why; nothing is pending.
    * **refused**: the color before has no healthy server. Traffic stays, the switch stays pending,
      ``last_revert.refused`` is there for the next run, and the timer tries again every 5 seconds. That ends
      with a healthy server, a person's ``align``, or a run that begins to change the color before.

    A switch to a release that is **irreversible** has no timer. It goes from moved to kept in the same call,
    and its run's ``confirm`` only notes that the release was found good. A kill in between leaves it pending:
    whoever would take it back keeps it if traffic has moved, and else forgets it.

    Five callers take a switch back: its run (``revert``), its timer (``revert`` with ``deadline``), its
    run's end (``unlock``), the next run's beginning (``lock``), and a restart of the machine (``boot``). A
    first release stays unless its own run takes it away: nothing else could answer.

    A kill at any instruction leaves one of these states. Each caller finds out what is the case, not what was
    meant to be: it may be run again from the beginning, and the timer always is.
    """

    def __init__(
        self, call: Call, state: SwitchState, traffic: Traffic, timer: RevertTimer, boot_unit: BootUnit
    ) -> None:
        self.call, self.state, self.traffic, self.timer = call, state, traffic, timer
        self.boot_unit = boot_unit
        self.deadline, self.haproxy = call.deadline, traffic.haproxy
        self.peers = Peers(call.paths.http_port, call.deadline)

    def leave_time_for_the_way_back(self, request: Json) -> None:
        """Let this call be over when a pending switch is to be taken back: the timer needs the flock then."""
        pending, verb = self.state.pending, self.call.verb
        left = time_left(pending) if pending else 0.0
        if not pending or left <= 0 or verb is Verb.BOOT or "deadline" in request:
            return
        self._end_within(max(left, REVERT_AT_LEAST) if verb is Verb.REVERT else left)

    def _end_within(self, seconds: float) -> None:
        self.call.lock.end_within(seconds, "the time to confirm the switch is over, it is taken back")

    def begin(self, to: str, origin: str | None, request: Json, holder: Json, within: float) -> Moved:
        """Arm, move, and return when traffic moved and how long that took.

        :param origin: the color that traffic came from; an unfinished switch knows it better than the map.
        :param request: the verb's request, checked.
        :param holder: the run.
        :param within: seconds until the switch is taken back.
        :raises AgentError: if traffic did not move; then it was put back, or the timer takes it back.
        """
        revision, question = request["revision"], Question.of(request, "health_path")
        deadline, irreversible = time.time() + within, irreversible_in(request)
        if origin is not None and not irreversible:
            # Before anything moves: whatever happens to this process, traffic goes back by itself.
            self.boot_unit.enable()
            self.timer.arm(within, deadline)
            self._end_within(within)
        # The servers to ask at boot, when no HAProxy is there to name them.
        known = self.haproxy.servers(origin) if origin else []
        pending: PendingRecord = {
            **question.as_json(),
            **deadline_of(within),
            "from": origin,
            "to": to,
            "revision": revision,
            "started": started_in(request),
            "run_id": holder["run_id"],
            "token": holder["token"],
            "deadline": deadline,
            "peers": [str(IPv4Address(peer)) for peer in request.get("peers") or []],
            "servers": [{"address": server["address"], "port": server["port"]} for server in known],
            "prepared": False,
            "irreversible": irreversible,
        }
        # After the timer: the timer of an unfinished switch stays good until this is written.
        self.state.remember(pending=pending)
        back = TrafficMap.back(to, origin)
        try:
            moved = self.traffic.move_or_put_back(TrafficMap.to(to), back, question, revision)
        except AgentError:
            # If traffic could not be put back, the timer still can.
            if self.traffic.is_at(back):
                self.forget()
            raise
        if irreversible:
            self.state.keep(pending)
        return moved

    def settle_irreversible(self) -> bool:
        """Keep or forget a pending switch to an irreversible release, by where traffic is; else do nothing.

        :return: whether such a switch was pending.
        """
        pending = self.state.pending
        if not pending or not pending.get("irreversible"):
            return False
        # While HAProxy is down, it will start with the file.
        live = self.haproxy.running_map() or self.traffic.in_file()
        if live and live != self.traffic.in_file():
            self.traffic.write_file(live)
        if live and live.live == pending["to"]:
            self.state.keep(pending)
        else:
            self.state.remember(pending=None)
        return True

    def confirm(self, revision: str, holder: Json, *, prepare_only: bool) -> ConfirmAnswer:
        """Keep the switch, or agree to do so: see the verb ``confirm``."""
        state = self.state.read()
        live, pending = self.traffic.running().live, state["pending"]
        # Whose it was counts: another run's switch may have been to the same revision.
        kept = {key: (state["confirmed"] or {}).get(key) for key in ("revision", "color", "token")}
        if not pending and kept == {"revision": revision, "color": live, "token": holder["token"]}:
            if not prepare_only:
                self.state.judged()
            return {"live": live}
        if not pending or pending["revision"] != revision or pending["to"] != live:
            last = state["last_revert"]
            why = f"; the last switch was taken back: {last['reason']}" if last else ""
            message = f"no switch to {revision[:12]} waits for this, live is {live}{why}"
            raise AgentError(Code.REVERTED, message)
        if prepare_only:
            self.state.remember(pending={**pending, "prepared": True})
            return {"live": live, "prepared": True}
        # A file that was edited by hand since the switch would be what the next HAProxy starts with.
        if self.traffic.in_file() != self.traffic.running():
            self.traffic.write_file(self.traffic.running())
        # In this order: a timer without a pending switch is harmless, a switch without a timer is not.
        self.state.keep(pending)
        self.state.judged()
        self.timer.disarm()
        return {"live": live}

    def revert(
        self, holder: Json | None, deadline: float | None = None, *, prepare_only: bool
    ) -> RevertAnswer:
        """Take the switch back: see the verb ``revert``."""
        asked = f"run {holder['run_id']}" if holder else "hand"
        pending = self.state.pending
        other = holder is not None and pending is not None and pending["run_id"] != holder["run_id"]
        if not pending or other or deadline not in (None, pending["deadline"]) or self.settle_irreversible():
            running = self.haproxy.running_map()
            return self._nothing_moved(running.live_color if running else None)
        if prepare_only:
            # Where HAProxy is down, servers are asked when it is committed, as at boot.
            if pending["from"] and not self.haproxy.is_down():
                self.traffic.require_one_server(pending["from"], pending["to"])
            return {**self._nothing_moved(pending["to"]), "prepared": True}
        if deadline is not None and pending.get("prepared") and self.peers.keep(pending):
            self.state.keep(pending)
            return self._nothing_moved(pending["to"])
        reason = f"asked for by {asked}" if deadline is None else "it was not confirmed in time"
        try:
            answer = self._take_back(pending, reason)
        except AgentError as error:
            # The next run reads it; the switch stays pending, and the timer tries again.
            with contextlib.suppress(OSError):
                self.state.not_taken_back(pending, f"{reason}, but {error}")
            raise
        if deadline is None:
            self.timer.disarm()
        return answer

    def settle(self, *, keep: bool) -> None:
        """Keep or take back a switch that no run is left to confirm, before the lock's new holder goes on.

        Its run has lost the lock, or was cleared and begins anew. A switch that cannot be taken back stays
        pending: the color before may become healthy, and the timer tries again. A first release stays:
        nothing else could answer, and its run is not there to say that it is bad.

        :param keep: whether its run is known to have decided so; only a prepared switch is kept.
        """
        pending = self.state.pending
        if not pending or self.settle_irreversible():
            return
        if keep and pending.get("prepared"):
            self.state.keep(pending)
        elif pending["from"] is None:
            self.state.remember(pending=None)
        else:
            try:
                self._take_back(pending, "its run did not confirm it")
            except AgentError as error:
                self.state.not_taken_back(pending, str(error))
                return
        self.timer.disarm()

    def forget(self) -> None:
        """Let nothing be pending: traffic is where it belongs, or its way back is to end here."""
        self.state.remember(pending=None)
        self.timer.disarm()

    def at_boot(self) -> BootAnswer:
        """Take the switch back before HAProxy starts: see the verb ``boot``."""
        pending = self.state.pending
        if not pending or pending["from"] is None or self.settle_irreversible():
            return {"reverted": False}
        # First, in case that this takes too long: a timer tries again, as often as it takes.
        self.timer.arm(max(1, time_left(pending)), pending["deadline"])
        if self._follows_peers(pending):
            return {"reverted": False}
        try:
            self._start_with(TrafficMap.to(pending["from"]), pending)
        except AgentError as error:
            self.state.not_taken_back(pending, str(error))
            later = f"live is still {pending['to']}, and is taken back later"
            raise AgentError(error.code, f"{error}; {later}") from None
        self.state.taken_back(pending, "the proxy was restarted before it was confirmed")
        self.timer.disarm()
        return {"reverted": True, "from": pending["to"], "to": pending["from"]}

    @staticmethod
    def _nothing_moved(live: str | None) -> RevertAnswer:
        return {"from": live, "to": live, "milliseconds": 0.0, "reverted": False}

    def _take_back(self, pending: PendingRecord, reason: str) -> RevertAnswer:
        """Move traffic to where it was before a switch, if it is not there yet."""
        target = TrafficMap.back(pending["to"], pending["from"])
        answer = self._nothing_moved(target.live_color)
        answer["from"] = pending["to"]
        if self.haproxy.is_down():
            self._start_with(target, pending)
        elif not self.traffic.is_at(target):
            if target.live_color:
                self.traffic.require_one_server(target.live, pending["to"])
            moved = self.traffic.move_back(target, Question.of(pending))
            answer["milliseconds"], answer["reverted"] = moved["milliseconds"], True
        self.state.taken_back(pending, reason)
        return answer

    def _follows_peers(self, pending: PendingRecord) -> bool:
        """At boot: whether the peers keep the switch, or may still do so.

        A proxy that had agreed to keep it leaves the decision to its timer. A proxy that had not was away
        when the others decided: until their time is over they go back, if this proxy does.
        """
        agreed, left = bool(pending.get("prepared")), time_left(pending) + PEERS_WAIT
        if not pending.get("peers") or (not agreed and left > PEERS_WAIT):
            return False
        if not agreed:
            self.deadline.sleep(left)
        if pending["to"] not in self.peers.colors(pending):
            return False
        if not agreed:
            self.state.keep(pending)
            self.timer.disarm()
        return True

    def _start_with(self, target: TrafficMap, pending: PendingRecord) -> None:
        """While HAProxy does not run: let it start with what was live before a switch, if that answers."""
        if target.live_color:
            self._require_an_answer(pending)
        self.traffic.write_file(target)

    def _require_an_answer(self, pending: PendingRecord) -> None:

        def any_answer() -> bool | None:
            for one in pending.get("servers", []):
                seconds = self.deadline.left(SHORT_APP_WAIT)
                if answered(http_get(one["address"], one["port"], Question.of(pending), seconds)):
                    return True
            return None

        if not self.deadline.wait_for(BOOT_WAIT, any_answer, 0.2):
            silent = f"no server of {pending['from']} answered while HAProxy did not run"
            raise AgentError(Code.UNHEALTHY, silent)
