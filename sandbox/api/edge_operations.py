"""What goes on behind load balancers and reserved IPs after a request has been answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sandbox.api.account import Account
from sandbox.api.edge import Edge
from sandbox.api.edge_records import LoadBalancer, ReservedIp
from sandbox.api.errors import invalid
from sandbox.api.perimeter import Perimeter
from sandbox.api.records import Action, Droplet
from sandbox.errors import SandboxError

# How late a load balancer takes notice of droplets that come, go, or get or lose its tag.
POLL_SECONDS = 0.2
log = logging.getLogger(__name__)


class EdgeOperations:
    """Carries out what requests ask of load balancers and reserved IPs.

    :param account: the records.
    :param edge: the real thing.
    :param perimeter: what has to let it through.
    """

    def __init__(self, account: Account, edge: Edge, perimeter: Perimeter) -> None:
        self.account = account
        self.edge = edge
        self.perimeter = perimeter
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, balancer: LoadBalancer) -> None:
        """Record a load balancer and run it for as long as its record exists."""
        self.account.load_balancers[balancer.id] = balancer
        self._start(self._serve(balancer))

    def reserve(self, region: str, droplet: Droplet | None) -> tuple[ReservedIp, Action]:
        """Reserve an address, and begin to lead it to a droplet if there is one."""
        if droplet:
            self._refuse_second(droplet)
        reserved = ReservedIp(self.edge.reserve_ip(), region)
        self.account.reserved_ips[reserved.ip] = reserved
        if droplet:
            return reserved, self.assign(reserved, droplet)
        action = self.account.add_ip_action(reserved, "reserve_ip")
        action.finish(succeeded=True)
        return reserved, action

    def assign(self, reserved: ReservedIp, droplet: Droplet | None) -> Action:
        """Begin to lead an address to a droplet, or nowhere."""
        if reserved.locked:
            raise invalid("Reserved IP already has a pending event.")
        if droplet:
            self._refuse_second(droplet)
            if droplet.region != reserved.region:
                raise invalid("Droplet is not in the region of the Reserved IP.")
        elif self.account.holder(reserved) is None:
            raise invalid("Reserved IP is not assigned to a Droplet.")
        action = self.account.add_ip_action(reserved, "assign_ip" if droplet else "unassign_ip")
        reserved.locked = True
        self._start(self._assign(reserved, droplet, action))
        return action

    def release(self, reserved: ReservedIp) -> None:
        """Give an address back."""
        if reserved.locked:
            raise invalid("Reserved IP already has a pending event.")
        if holder := self.account.holder(reserved):
            holder.reserved_address = None
        del self.account.reserved_ips[reserved.ip]
        self._start(asyncio.to_thread(self.edge.release_ip, reserved.ip))

    async def close(self) -> None:
        """Stop following the records."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _refuse_second(self, droplet: Droplet) -> None:
        if any(reserved.droplet == droplet.id for reserved in self.account.reserved_ips.values()):
            raise invalid("Droplet already has a Reserved IP.")

    async def _serve(self, balancer: LoadBalancer) -> None:
        try:
            address = await asyncio.to_thread(self.edge.start_balancer, balancer.id, balancer.balancing())
        except SandboxError as error:
            log.error("load balancer %s: %s", balancer.name, error)
            balancer.status = "errored"
            return
        # An address may be shown before the load balancer is ready; its status shows that it is not.
        balancer.ip = address
        await self.perimeter.refresh()
        done: object = None
        reported = ""
        while balancer.id in self.account.load_balancers:
            targets = {
                droplet.id: droplet.private_address
                for droplet in self.account.targets(balancer)
                if droplet.private_address
            }
            wanted = (balancer.balancing(), targets)
            if wanted != done:
                try:
                    complete = await asyncio.to_thread(self.edge.balance, balancer.id, *wanted)
                except SandboxError as error:
                    if reported != (reported := str(error)):
                        log.error("load balancer %s: %s", balancer.name, error)
                    complete = False
                done = wanted if complete else None
                if complete:
                    balancer.status = "active"
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.to_thread(self.edge.stop_balancer, balancer.id)

    async def _assign(self, reserved: ReservedIp, droplet: Droplet | None, action: Action) -> None:
        try:
            await asyncio.to_thread(self.edge.assign_ip, reserved.ip, droplet.id if droplet else None)
        except SandboxError as error:
            log.error("%s of %s: %s", action.type, reserved.ip, error)
            action.finish(succeeded=False)
        else:
            if before := self.account.holder(reserved):
                before.reserved_address = None
            if droplet:
                droplet.reserved_address = reserved.ip
            reserved.droplet = droplet.id if droplet else None
            action.finish(succeeded=True)
        reserved.locked = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("background work failed", exc_info=error)
